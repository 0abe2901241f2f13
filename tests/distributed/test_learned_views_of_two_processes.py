"""Learned views, weighted and guided pairs: two processes with half a batch each equal one with the whole."""

from pathlib import Path

import torch

SCRIPT = Path(__file__).with_name('learned_views.py')


def test_two_processes_equal_one(over_processes):
    one = over_processes(SCRIPT, 0)
    two = over_processes(SCRIPT, 2)
    assert any(name.startswith('view_maker') for name in one['view_maker']['gradients'])
    rest = {key.split('.')[0] for key, x in one['settling']['gradients'].items() if x is None}
    assert rest == {'backbone', 'view_maker'}
    for want in one.values():
        assert all(x is None or x.isfinite().all() for x in want['gradients'].values())
    for mine in two:
        torch.testing.assert_close(mine, one, rtol=1e-6, atol=1e-9)
