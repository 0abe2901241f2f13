"""Batch norm over active positions: gloo processes with unequal numbers, one of them with none, equal one."""

from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name('active.py')


@pytest.fixture(scope='module')
def one(over_processes):
    (alone,) = over_processes(SCRIPT, 1)
    return alone


@pytest.mark.parametrize('processes', [2, 3])
def test_parts_equal_the_whole(over_processes, one, processes):
    parts = over_processes(SCRIPT, processes)
    close = dict(rtol=1e-9, atol=1e-11)
    for name, dim in (('outputs', 1), ('gradient', 0)):
        torch.testing.assert_close(torch.cat([p[name] for p in parts], dim), one[name], **close)
    for part in parts:
        torch.testing.assert_close(part['others'], one['others'], **close)
        torch.testing.assert_close(part['state'], one['state'], **close)
    assert (parts[-1]['gradient'] != 0).any() == (processes == 2)


def test_the_run_had_something_to_find(one):
    assert one['gradient'][:8].abs().max() > 1e-4 and not one['gradient'][8:].any()
    assert all(g.abs().max() > 1e-4 for name, g in zip(range(6), one['others'], strict=True) if name != 3)
    assert one['state']['0.num_batches_tracked'] == 2 and (one['state']['0.running_mean'] > 3).all()
