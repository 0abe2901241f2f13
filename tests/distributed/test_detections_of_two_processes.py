"""AlignDet: two gloo processes equal one with the whole batch, however unevenly boxes are spread."""

from pathlib import Path

import torch

SCRIPT = Path(__file__).with_name('detections.py')


def test_parts_of_the_batch_equal_the_whole(over_processes):
    want, two = over_processes(SCRIPT, 1)[0], over_processes(SCRIPT, 2)
    assert (want['logged']['loss_objects'] > 0).all()
    assert all(g.abs().max() > 0 for step in want['gradients'] for g in step.values())
    for mine in two:
        torch.testing.assert_close(mine['logged'], want['logged'], rtol=1e-10, atol=0)
        for part in ('gradients', 'state'):
            torch.testing.assert_close(mine[part], want[part], rtol=1e-8, atol=1e-10)
