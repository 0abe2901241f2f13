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
            torch.testing.assert_close(got['losses'], want['losses'], rtol=0, atol=1e-10)
            for part in ('gradients', 'state'):
                assert got[part].keys() == want[part].keys()
                for name, value in want[part].items():
                    torch.testing.assert_close(
                        got[part][name], value, rtol=1e-8, atol=1e-10, msg=lambda m, n=name: f'{n}: {m}'
                    )
    assert all(g.abs().max() > 0 for g in one['gathered']['gradients'].values())
    first, second = (mine['gathered']['inside'].tolist() for mine in two)
    assert min(first) > 0 and second[1] == 0 and second[0] > 0  # a step without a window on one of them
    # Fewer negatives: a smaller loss, which depends on the number of processes.
    torch.testing.assert_close(one['official']['losses'], one['gathered']['losses'])
    assert two[0]['official']['losses'][0] < one['official']['losses'][0] - 0.1
