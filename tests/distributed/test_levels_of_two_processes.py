"""DetCo: two gloo processes equal one with the whole batch, every term, level and queue."""

from pathlib import Path

import torch

SCRIPT = Path(__file__).with_name('levels.py')


def test_parts_of_the_batch_equal_the_whole(over_processes):
    (one,) = over_processes(SCRIPT, 1)
    assert len(one['logged']) == 1 + 2 * 3
    for mine in over_processes(SCRIPT, 2):
        torch.testing.assert_close(mine['logged'], one['logged'], rtol=0, atol=1e-10)
        for part in ('gradients', 'state'):
            torch.testing.assert_close(mine[part], one[part], rtol=1e-8, atol=1e-10)
    queues = [v for k, v in one['state'].items() if k.endswith('queue.enqueued')]
    assert [int(n) for n in queues] == [12] * 4
    assert all(g.abs().max() > 0 for g in one['gradients'][-1].values())
