"""SlotCon: two or three gloo processes equal one with the whole batch; both terms, centre and slots."""

from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name('slots.py')


@pytest.fixture(scope='module')
def one(over_processes):
    (alone,) = over_processes(SCRIPT, 1)
    return alone


def same(got: dict, want: dict) -> None:
    assert got.keys() == want.keys()
    for name, value in want.items():
        torch.testing.assert_close(got[name], value, rtol=1e-8, atol=1e-10, msg=lambda m, n=name: f'{n}: {m}')


@pytest.mark.parametrize('processes', [2, 3])
def test_parts_of_the_batch_equal_the_whole(over_processes, one, processes):
    for mine in over_processes(SCRIPT, processes):
        # The last, occupancy, is of each process's own images.
        torch.testing.assert_close(mine['logged'][:, :3], one['logged'][:, :3], rtol=0, atol=1e-7)
        for got, want in zip(mine['gradients'], one['gradients'], strict=True):
            same(got, want)
        same(mine['state'], one['state'])


def test_the_run_exercised_every_part(one):
    loss, grouping, contrast, occupancy = one['logged'].unbind(1)
    assert (loss > 0).tolist() == [True, True, False, True]
    assert (grouping > 0).tolist() == (contrast > 0).tolist() == [True, True, False, True]
    assert ((occupancy >= 0.25) & (occupancy <= 1)).all()
    assert one['state']['heads.slots.objective.cells.center'].norm() > 1e-3
    trained = one['gradients'][0]
    assert {'heads.slots.projector.slots', 'backbone.conv.weight'} < trained.keys()
    assert all(g.abs().max() > 0 for g in trained.values())
    assert all(g.abs().max() == 0 for g in one['gradients'][2].values())
