"""DetCon: two gloo processes equal one with the whole batch, keys gathered or sent around the ring."""

from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name('masks.py')


@pytest.fixture(scope='module')
def runs(over_processes):
    return over_processes(SCRIPT, 1)[0], over_processes(SCRIPT, 2)


def same(got: dict, want: dict) -> None:
    assert got.keys() == want.keys()
    for name, value in want.items():
        torch.testing.assert_close(
            got[name], value, rtol=1e-8, atol=1e-10, msg=lambda m, n=name: f'{n}: {m}'
        )


@pytest.mark.parametrize('method', ['b', 's'])
def test_parts_of_the_batch_equal_the_whole(runs, method):
    one, two = runs
    want = one[method]
    assert (want['losses'] > 0).all()
    for each in two:
        mine = each[method]
        torch.testing.assert_close(mine['losses'], want['losses'], rtol=1e-10, atol=0)
        for got, gradients in zip(mine['gradients'], want['gradients'], strict=True):
            assert all(g.abs().max() > 0 for g in gradients.values())
            same(got, gradients)
        same(mine['state'], want['state'])
