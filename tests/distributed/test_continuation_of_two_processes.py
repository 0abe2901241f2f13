"""Two processes that continue from a start equal one: while the heads settle, and after."""

from pathlib import Path

import torch

SCRIPT = Path(__file__).with_name('continuation.py')


def test_weights_after_four_steps(over_processes):
    (one,) = over_processes(SCRIPT, 1)
    two = over_processes(SCRIPT, 2)
    for mine in two:
        assert mine['moved'] == one['moved'] == [False, False, True, True]
        for name, value in one['state'].items():
            torch.testing.assert_close(mine['state'][name], value, rtol=1e-6, atol=1e-8, msg=name)
