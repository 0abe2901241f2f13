"""VICRegL, SetSim, SCRL and puzzles: two gloo processes equal one with the whole batch, queue included."""

from pathlib import Path

import torch

SCRIPT = Path(__file__).with_name('local_methods.py')


def test_parts_of_the_batch_equal_the_whole(over_processes):
    (one,) = over_processes(SCRIPT, 1)
    two = over_processes(SCRIPT, 2)
    for mine in two:
        for method, want in one.items():
            got = mine[method]
            torch.testing.assert_close(got['logged'], want['logged'], rtol=0, atol=1e-10)
            for part in ('gradients', 'state'):
                torch.testing.assert_close(got[part], want[part], rtol=1e-8, atol=1e-10)
    matched = two[1]['scrl']['local']['it_matched'].tolist()
    assert matched == [1, 0, 1]  # a step without a region on one of them
    assert int(one['setsim']['state']['heads.it.objective.queue.enqueued']) == 18
    assert all(g.abs().max() > 0 for m in one.values() for g in m['gradients'][-1].values())
