"""Each objective: two gloo processes with half a batch equal one with the whole, memories included."""

from pathlib import Path

import torch

SCRIPT = Path(__file__).with_name('objectives.py')


def test_losses_gradients_and_memories(over_processes):
    one, two = over_processes(SCRIPT, 0), over_processes(SCRIPT, 2)
    assert len(one) == 32
    for mine in two:
        torch.testing.assert_close(mine, one, rtol=1e-10, atol=1e-11)
    assert all(float(found['gradient0'].norm()) > 1e-3 for found in one.values())
    assert int(one['swav']['queues.0.enqueued']) == 48 and one['dino']['center'].norm() > 1e-3
    assert not torch.allclose(one['masked']['center'], one['masked_all']['center'], atol=1e-3)
    for name in ('nce', 'softmax'):  # bit by bit on both processes
        for key in ('bank.vectors', 'partition', 'rounds'):
            assert torch.equal(two[0][name][key], two[1][name][key])
