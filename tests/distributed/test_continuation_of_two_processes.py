"""Two processes that continue from a start equal one: while the heads settle, after, and with adapters."""

from pathlib import Path

import torch

SCRIPT = Path(__file__).with_name('continuation.py')


def test_weights_after_four_steps(over_processes):
    (one,) = over_processes(SCRIPT, 1)
    two = over_processes(SCRIPT, 2)
    for mine in two:
        assert mine['moved'] == one['moved'] == [False, False, True, True]
        assert mine['moved_low_rank'] == one['moved_low_rank'] == [True] * 4
        for part in ('state', 'adapted'):
            torch.testing.assert_close(mine[part], one[part], rtol=1e-6, atol=1e-8)
