"""ReSim: two gloo processes equal one with the whole batch; the official option does not."""

from pathlib import Path

import torch

SCRIPT = Path(__file__).with_name('windows.py')


def test_parts_of_the_batch_equal_the_whole(over_processes):
    (one,) = over_processes(SCRIPT, 1)
    two = over_processes(SCRIPT, 2)
    for kind in ('gathered', 'ring'):
        want = one[kind]
        for mine in two:
            got = mine[kind]
            torch.testing.assert_close(got['logged'], want['logged'], rtol=0, atol=1e-10)
            for part in ('gradients', 'state'):
                torch.testing.assert_close(got[part], want[part], rtol=1e-8, atol=1e-10)
    assert all(g.abs().max() > 0 for g in one['gathered']['gradients'][-1].values())
    first, second = (mine['gathered']['local']['p4_matched'].tolist() for mine in two)
    assert min(first) > 0 and second[1] == 0 and second[0] > 0  # a step without a window on one of them
    # Fewer negatives: a smaller loss, which depends on the number of processes.
    torch.testing.assert_close(one['official']['logged'], one['gathered']['logged'])
    official = [sum(found['official']['logged'].values())[0] for found in (two[0], one)]
    assert official[0] < official[1] - 0.1
