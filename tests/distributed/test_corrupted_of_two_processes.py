"""Replaced pixels, kept patches: two gloo processes with half the batch each equal one with the whole."""

from pathlib import Path

import torch

SCRIPT = Path(__file__).with_name('corrupted.py')


def test_parts_of_the_batch_equal_the_whole(over_processes):
    (one,), two = over_processes(SCRIPT, 1), over_processes(SCRIPT, 2)
    assert all((losses > 0).all() for losses in one['logged'].values())
    assert all(g.abs().max() > 0 for step in one['gradients'] for g in step.values())
    assert one['state']['heads.kept.objective.kept.center'].abs().max() > 0
    for each in two:
        torch.testing.assert_close(each['logged'], one['logged'], rtol=1e-10, atol=0)
        torch.testing.assert_close(each['gradients'], one['gradients'], rtol=1e-8, atol=1e-12)
        torch.testing.assert_close(each['state'], one['state'], rtol=1e-8, atol=1e-10)
