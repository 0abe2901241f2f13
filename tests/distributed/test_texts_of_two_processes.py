"""Texts of two processes with half a batch each equal those of one with the whole: loss and gradients."""

from pathlib import Path

import torch

SCRIPT = Path(__file__).with_name('texts.py')


def test_two_processes_equal_one(over_processes):
    one = over_processes(SCRIPT, 0)
    two = over_processes(SCRIPT, 2)
    for name, want in one.items():
        assert {'backbone.conv.weight', 'heads.text.target.tower.words.weight'} < want['gradients'].keys()
        assert all(gradient.abs().sum() > 0 for gradient in want['gradients'].values())
        for mine in two:
            torch.testing.assert_close(mine[name]['loss'], want['loss'], rtol=0, atol=1e-9)
            torch.testing.assert_close(mine[name]['gradients'], want['gradients'], rtol=1e-7, atol=1e-9)
    assert torch.equal(one['ring']['loss'], one['clip']['loss'])
