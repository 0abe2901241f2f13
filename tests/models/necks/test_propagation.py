"""Pixel propagation against loops over cells."""

import math

import pytest
import torch
from torch import nn

from densecl.models.necks import PixelPropagation
from densecl.models.necks.propagation import propagate


def loops(features, values, power):
    """Cell by cell, in Python floats."""
    batch, _, height, width = features.shape
    places = [(i, j) for i in range(height) for j in range(width)]
    out = torch.zeros_like(values)
    for b in range(batch):
        for i, j in places:
            x = features[b, :, i, j]
            total = torch.zeros_like(values[b, :, 0, 0])
            for k, m in places:
                other, value = features[b, :, k, m], values[b, :, k, m]
                similarity = max(float(x @ other / x.norm() / other.norm()), 0)
                similarity = similarity + 1e-6 if power < 1 else similarity
                total += similarity**power * value / value.norm()
            out[b, :, i, j] = total / total.norm()
    return out


@pytest.mark.parametrize('power', [0.5, 1, 2, 3])
def test_equals_the_loops(power):
    features = torch.randn(2, 4, 3, 2, dtype=torch.float64)
    values = torch.randn(2, 5, 3, 2, dtype=torch.float64)
    torch.testing.assert_close(propagate(features, values, power), loops(features, values, power))


@pytest.mark.parametrize('power', [0.5, 1, 2])
def test_gradients(power):
    inputs = [torch.randn(1, 4, 2, 2, dtype=torch.float64, requires_grad=True) for _ in 'xv']
    assert torch.autograd.gradcheck(lambda x, v: propagate(x, v, power), inputs)


# whether each layer of the value transform is a convolution, or a batch norm
@pytest.mark.parametrize(('layers', 'kinds'), [(0, []), (1, [True]), (2, [True, False, True])])
def test_module(layers, kinds):
    module = PixelPropagation(channels=6, layers=layers).double()
    leaves = [m for m in module.value.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)]
    assert [isinstance(m, nn.Conv2d) for m in leaves] == kinds
    assert all(m.bias is not None and m.kernel_size == (1, 1) for m in leaves if isinstance(m, nn.Conv2d))
    maps = torch.randn(3, 6, 2, 4, dtype=torch.float64)
    found = module(maps)
    torch.testing.assert_close(found, loops(maps, module.value(maps), 2))
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3, 2, 4, dtype=torch.float64))


def test_orthogonal_cells_keep_to_themselves_and_equal_ones_share():
    """Four orthogonal cells, of which the last two are equal: values mix between those two only."""
    features = torch.eye(3)[[0, 1, 2, 2]].T.reshape(1, 3, 2, 2)
    values = torch.eye(4)[[0, 1, 2, 3]].T.reshape(1, 4, 2, 2)
    found = propagate(features, values, 2.0).flatten(2)[0].T
    half = math.sqrt(0.5)
    expected = torch.tensor([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, half, half], [0, 0, half, half]])
    torch.testing.assert_close(found, expected)


def test_float32_inside_autocast():
    maps = torch.randn(1, 6, 3, 3).bfloat16()
    with torch.autocast('cpu', torch.bfloat16):
        found = PixelPropagation(channels=6)(maps)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.norm(dim=1), torch.ones(1, 3, 3))


def test_bad_settings():
    with pytest.raises(ValueError, match='layers must be 0, 1 or 2, got 3'):
        PixelPropagation(layers=3)
    with pytest.raises(ValueError, match='power must be positive'):
        PixelPropagation(power=0)
