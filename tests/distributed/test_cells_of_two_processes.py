"""Objectives on cells: two gloo processes with half a batch equal one with the whole."""

from pathlib import Path

import torch

SCRIPT = Path(__file__).with_name('cells.py')


def test_losses_gradients_and_queue(over_processes):
    """However unevenly the positives are spread over the processes."""
    one, two = over_processes(SCRIPT, 0), over_processes(SCRIPT, 2)
    assert len(one) == 1
    for mine in two:
        for name, expected in one.items():
            assert mine[name].keys() == expected.keys()
            for key, value in expected.items():
                torch.testing.assert_close(
                    mine[name][key], value, rtol=1e-10, atol=1e-12,
                    msg=lambda m, n=f'{name}.{key}': f'{n}: {m}',
                )  # fmt: skip
    assert all(float(found['gradient0'].norm()) > 1e-3 for found in one.values())
