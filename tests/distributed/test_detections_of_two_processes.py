"""AlignDet: two gloo processes equal one with the whole batch, however unevenly boxes are spread."""

from pathlib import Path

import torch

SCRIPT = Path(__file__).with_name('detections.py')


def test_parts_of_the_batch_equal_the_whole(over_processes):
    want, two = over_processes(SCRIPT, 1)[0], over_processes(SCRIPT, 2)
    assert (want['losses'] > 0).all()
    for mine in two:
        torch.testing.assert_close(mine['losses'], want['losses'], rtol=1e-10, atol=0)
        for got, gradients in zip(mine['gradients'], want['gradients'], strict=True):
            assert all(g.abs().max() > 0 for g in gradients.values())
            torch.testing.assert_close(got, gradients, rtol=1e-8, atol=1e-10)
        torch.testing.assert_close(mine['state'], want['state'], rtol=1e-8, atol=1e-10)
