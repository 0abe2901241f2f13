"""Leopart and CrIBo: two or three gloo processes equal one with the whole batch, with queue and memory."""

from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name('objects.py')


@pytest.fixture(scope='module')
def one(over_processes):
    (alone,) = over_processes(SCRIPT, 1)
    return alone


def same(got: dict, want: dict) -> None:
    assert got.keys() == want.keys()
    for name, value in want.items():
        torch.testing.assert_close(got[name], value, rtol=1e-8, atol=1e-10, msg=lambda m, n=name: f'{n}: {m}')


@pytest.mark.parametrize('processes', [2, 3])
def test_parts_of_the_batch_equal_the_whole(over_processes, one, processes):
    for mine in over_processes(SCRIPT, processes):
        for method, want in one.items():
            got = mine[method]
            # The third, of CrIBo, is a share of each process's own objects.
            torch.testing.assert_close(got['logged'][:, :2], want['logged'][:, :2], rtol=0, atol=1e-8)
            for step, gradients in zip(got['gradients'], want['gradients'], strict=True):
                same(step, gradients)
            same(got['state'], want['state'])


def test_the_run_exercised_queue_memory_and_neighbours(one):
    leopart, cribo = one['leopart'], one['cribo']
    queue = 'heads.heads.objective.queues.0.enqueued'
    assert 21 < int(leopart['state'][queue]) <= 36, 'full, and images without a foreground left out'
    assert leopart['logged'][2, 0] == 0 and (leopart['logged'][[0, 1, 3], 0] > 0).all()
    assert int(cribo['state']['heads.heads.objective.queue.enqueued']) > 50
    assert (cribo['logged'][1:, 2] > 0).all()
