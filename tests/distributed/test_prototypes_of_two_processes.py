"""SwAV and DINO: two or three gloo processes equal one with the whole batch, queue and centre included."""

from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name('prototypes.py')


@pytest.fixture(scope='module')
def one(over_processes):
    (alone,) = over_processes(SCRIPT, 1)
    return alone


@pytest.mark.parametrize('processes', [2, 3])
def test_parts_of_the_batch_equal_the_whole(over_processes, one, processes):
    for mine in over_processes(SCRIPT, processes):
        for method, want in one.items():
            got = mine[method]
            torch.testing.assert_close(got['logged'], want['logged'], rtol=0, atol=1e-10)
            for part in ('gradients', 'state'):
                torch.testing.assert_close(got[part], want[part], rtol=1e-8, atol=1e-10)


def test_the_run_exercised_queue_and_centre(one):
    swav, dino = one['swav'], one['dino']
    assert int(swav['state']['heads.image.objective.queues.0.enqueued']) == 24
    assert dino['state']['heads.image.objective.center'].norm() > 1e-3
    assert all(g.abs().max() > 0 for m in one.values() for g in m['gradients'][-1].values())
