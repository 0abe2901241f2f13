"""DetCon: two gloo processes equal one with the whole batch, keys gathered or sent around the ring."""

from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name('masks.py')


@pytest.fixture(scope='module')
def runs(over_processes):
    return over_processes(SCRIPT, 1)[0], over_processes(SCRIPT, 2)


@pytest.mark.parametrize('method', ['b', 's'])
def test_parts_of_the_batch_equal_the_whole(runs, method):
    one, two = runs
    want = one[method]
    assert (want['logged']['loss_masks'] > 0).all()
    assert all(g.abs().max() > 0 for step in want['gradients'] for g in step.values())
    for each in two:
        mine = each[method]
        torch.testing.assert_close(mine['logged'], want['logged'], rtol=1e-10, atol=0)
        for part in ('gradients', 'state'):
            torch.testing.assert_close(mine[part], want[part], rtol=1e-8, atol=1e-10)
