"""The pixel contrast head: two gloo processes with half a batch equal one with the whole, memory included."""

from pathlib import Path

import torch

SCRIPT = Path(__file__).with_name('pixel_contrast.py')


def test_losses_gradients_and_memory(over_processes):
    one, two = over_processes(SCRIPT, 0), over_processes(SCRIPT, 2)
    for mine in two:
        torch.testing.assert_close(mine, one, rtol=1e-10, atol=1e-11)
    for name in ('memory.keys', 'memory.pointers', 'memory.enqueued'):  # bit by bit
        assert torch.equal(two[0][name], two[1][name])
    assert int(one['memory.enqueued'].max()) > 5  # a ring has wrapped around
    for step in range(3):
        assert float(one[f'{step}.loss_contrast']) > 0
        assert float(one[f'{step}.gradient0'].norm()) > 0.01
