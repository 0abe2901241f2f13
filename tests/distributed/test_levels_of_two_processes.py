"""DetCo: two gloo processes equal one with the whole batch, every term, level and queue."""

from pathlib import Path

import torch

SCRIPT = Path(__file__).with_name('levels.py')


def test_parts_of_the_batch_equal_the_whole(over_processes):
    (one,) = over_processes(SCRIPT, 1)
    assert len(one['names']) == 1 + 2 * 3
    for mine in over_processes(SCRIPT, 2):
        torch.testing.assert_close(mine['figures'], one['figures'], rtol=0, atol=1e-10)
        for part in ('gradients', 'state'):
            assert mine[part].keys() == one[part].keys()
            for name, value in one[part].items():
                torch.testing.assert_close(
                    mine[part][name], value, rtol=1e-8, atol=1e-10, msg=lambda m, n=name: f'{n}: {m}'
                )
    queues = [v for k, v in one['state'].items() if k.endswith('queue.enqueued')]
    assert [int(n) for n in queues] == [12] * 4
    assert all(g.abs().max() > 0 for g in one['gradients'].values())
