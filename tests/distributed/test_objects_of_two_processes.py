"""Leopart and CrIBo: two or three gloo processes equal one with the whole batch, with queue and memory."""

from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name('objects.py')


@pytest.fixture(scope='module')
def one(over_processes):
    (alone,) = over_processes(SCRIPT, 1)
    return alone


@pytest.mark.parametrize('processes', [2, 3])
def test_parts_of_the_batch_equal_the_whole(over_processes, one, processes):
    for mine in over_processes(SCRIPT, processes):
        for method, want in one.items():
            got = mine[method]
            # It is a share of each process's own objects.
            if method == 'cribo':
                got['logged']['heads_agreeing'] = want['logged']['heads_agreeing']
            torch.testing.assert_close(got['logged'], want['logged'], rtol=0, atol=1e-8)
            for part in ('gradients', 'state'):
                torch.testing.assert_close(got[part], want[part], rtol=1e-8, atol=1e-10)


def test_the_run_exercised_queue_memory_and_neighbours(one):
    leopart, cribo = one['leopart'], one['cribo']
    queue = 'heads.heads.objective.queues.0.enqueued'
    assert 21 < int(leopart['state'][queue]) <= 36, 'full, and images without a foreground left out'
    assert (leopart['logged']['loss_heads'] > 0).tolist() == [True, True, False, True]
    assert leopart['logged']['loss_heads'][2] == 0
    assert int(cribo['state']['heads.heads.objective.queue.enqueued']) > 50
    assert (cribo['logged']['heads_agreeing'][1:] > 0).all()
