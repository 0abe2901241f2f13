"""Codes of two gloo processes with half a batch are those of one with the whole, from k-means on."""

from pathlib import Path

import torch

SCRIPT = Path(__file__).with_name('quantizer.py')


def test_codes_and_gradients(over_processes):
    one, two = over_processes(SCRIPT, 0), over_processes(SCRIPT, 2)
    for mine in two:
        torch.testing.assert_close(mine, one, rtol=1e-9, atol=1e-11)
    assert torch.equal(two[0]['codebook'], two[1]['codebook'])
    assert one['usage'].sum() > 1 and (one['codebook0'] - one['codebook2']).norm() > 1e-2
    assert all(one[f'{name}0'].norm() > 1e-6 for name in ('embed.0.weight', 'embed.2.bias'))
