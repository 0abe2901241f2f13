"""SlotCon: two or three gloo processes equal one with the whole batch; both terms, centre and slots."""

from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name('slots.py')


@pytest.fixture(scope='module')
def one(over_processes):
    (alone,) = over_processes(SCRIPT, 1)
    return alone


@pytest.mark.parametrize('processes', [2, 3])
def test_parts_of_the_batch_equal_the_whole(over_processes, one, processes):
    for mine in over_processes(SCRIPT, processes):
        # Occupancy is of each process's own images.
        mine['logged']['slots_occupancy'] = one['logged']['slots_occupancy']
        torch.testing.assert_close(mine['logged'], one['logged'], rtol=0, atol=1e-7)
        for part in ('gradients', 'state'):
            torch.testing.assert_close(mine[part], one[part], rtol=1e-8, atol=1e-10)


def test_the_run_exercised_every_part(one):
    names = ('loss_slots', 'slots_grouping', 'slots_contrast', 'slots_occupancy')
    loss, grouping, contrast, occupancy = (one['logged'][name] for name in names)
    assert (loss > 0).tolist() == [True, True, False, True]
    assert (grouping > 0).tolist() == (contrast > 0).tolist() == [True, True, False, True]
    assert ((occupancy >= 0.25) & (occupancy <= 1)).all()
    assert one['state']['heads.slots.objective.cells.center'].norm() > 1e-3
    trained = one['gradients'][0]
    assert {'heads.slots.projector.slots', 'backbone.conv.weight'} < trained.keys()
    assert all(g.abs().max() > 0 for g in trained.values())
    assert all(g.abs().max() == 0 for g in one['gradients'][2].values())
