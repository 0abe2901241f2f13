"""InfoNCE among units: two gloo processes with half a batch equal one with the whole."""

from pathlib import Path

import torch

SCRIPT = Path(__file__).with_name('sources.py')


def test_losses_gradients_and_queue(over_processes):
    """However unevenly answers and units are spread over the processes."""
    one, two = over_processes(SCRIPT, 0), over_processes(SCRIPT, 2)
    assert len(one) == 13
    for mine in two:
        torch.testing.assert_close(mine, one, rtol=1e-10, atol=1e-12)
    assert all(float(found[f'gradient{i}'].norm()) > 1e-3 for found in one.values() for i in (0, 1))
    assert int(one['setsim']['queue.enqueued']) == 8
    assert one['setsim']['queue.images'].tolist() == [13, 1, 2, 3, 10, 11, 12]
    assert len({round(float(found['loss1']), 9) for found in one.values()}) == 9
