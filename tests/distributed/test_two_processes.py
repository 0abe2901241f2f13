"""Two gloo processes with half a batch each equal one process with the whole: loss, gradients, queues."""

from pathlib import Path

import torch

SCRIPT = Path(__file__).with_name('two_processes.py')


def test_half_batches_on_two_processes_equal_the_whole_batch_on_one(over_processes):
    (one,) = over_processes(SCRIPT, 1)
    two = over_processes(SCRIPT, 2)
    assert len(one['gradients']) > 60
    for mine in two:
        torch.testing.assert_close(mine['loss'], one['loss'], rtol=0, atol=1e-9)
        assert mine['gradients'].keys() == one['gradients'].keys()
        for name, gradient in one['gradients'].items():
            torch.testing.assert_close(mine['gradients'][name], gradient, rtol=1e-7, atol=1e-9)
        # Of data-parallel gradients each rank sends every byte once: half of it in each half of a ring.
        assert mine['sent'] == {'all_reduce': sum(8 * g.numel() for g in mine['gradients'].values())}
        for name, value in one['queues'].items():
            torch.testing.assert_close(mine['queues'][name], value, rtol=0, atol=1e-9)
    assert int(one['queues']['heads.dense.objective.queue.enqueued']) == 4
