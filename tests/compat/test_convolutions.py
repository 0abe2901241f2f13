"""Deformable (v1, v2) and masked convolution against loops over positions, with gradients."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

pytest.importorskip('mmcv')

from mmcv.ops import DeformConv2dPack, deform_conv2d, modulated_deform_conv2d
from mmcv.ops.masked_conv import masked_conv2d

DEVICES = ['cpu', pytest.param('cuda', marks=pytest.mark.gpu)]
# stride, padding, dilation, groups, deformable groups
GEOMETRIES = [(1, 1, 1, 1, 1), (2, 2, 2, 1, 2), (1, 0, 1, 2, 2)]


def inputs(geometry, device='cpu', batch=2):
    stride, padding, dilation, groups, deform_groups = geometry
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(device)

    x, weight = draw(batch, 4, 6, 5), draw(6, 4 // groups, 3, 3)
    reach = dilation * 2 + 1
    size = [(s + 2 * padding - reach) // stride + 1 for s in (6, 5)]
    offset = draw(batch, 2 * deform_groups * 9, *size)
    mask = draw(batch, deform_groups * 9, *size).sigmoid()
    return x, offset, mask, weight, draw(6)


def at(plane, y, x):
    """Bilinear sample of a (H, W) array, zero outside."""
    y0, x0 = int(np.floor(y)), int(np.floor(x))
    total = 0.0
    for i, j in ((y0, x0), (y0, x0 + 1), (y0 + 1, x0), (y0 + 1, x0 + 1)):
        if 0 <= i < plane.shape[0] and 0 <= j < plane.shape[1]:
            total += plane[i, j] * (1 - abs(y - i)) * (1 - abs(x - j))
    return total


def naive(x, offset, mask, weight, bias, geometry):
    stride, padding, dilation, groups, deform_groups = geometry
    x, offset, mask, weight = (t.cpu().numpy() for t in (x, offset, mask, weight))
    batch, channels = x.shape[:2]
    out = np.zeros((batch, len(weight), *offset.shape[2:]))
    offset = offset.reshape(batch, deform_groups, 9, 2, *offset.shape[2:])
    mask = mask.reshape(batch, deform_groups, 9, *mask.shape[2:])
    per_group, per_out = channels // groups, len(weight) // groups
    for b, d, i, j in np.ndindex(out.shape):
        for c in range(per_group):
            channel = d // per_out * per_group + c
            g = channel // (channels // deform_groups)
            for k in range(9):
                dy, dx = offset[b, g, k, :, i, j]
                y = i * stride - padding + k // 3 * dilation + dy
                x_ = j * stride - padding + k % 3 * dilation + dx
                value = at(x[b, channel], y, x_) * mask[b, g, k, i, j]
                out[b, d, i, j] += weight[d, c, k // 3, k % 3] * value
    return torch.from_numpy(out) + bias.cpu()[:, None, None]


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('geometry', GEOMETRIES)
def test_deform_conv(device, geometry):
    x, offset, mask, weight, bias = inputs(geometry, device)
    result = deform_conv2d(x, offset, weight, *geometry)
    expected = naive(x, offset, torch.ones_like(mask), weight, 0 * bias, geometry)
    torch.testing.assert_close(result.cpu(), expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('geometry', GEOMETRIES)
def test_deform_conv_gradient(device, geometry):
    x, offset, _, weight, _ = inputs(geometry, device, batch=1)
    operands = [t.requires_grad_() for t in (x, offset, weight)]
    assert torch.autograd.gradcheck(
        lambda *t: deform_conv2d(*t, *geometry), operands, nondet_tol=1e-9
    )


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('geometry', GEOMETRIES)
def test_modulated_deform_conv(device, geometry):
    x, offset, mask, weight, bias = inputs(geometry, device)
    result = modulated_deform_conv2d(x, offset, mask, weight, bias, *geometry)
    expected = naive(x, offset, mask, weight, bias, geometry)
    torch.testing.assert_close(result.cpu(), expected, rtol=1e-9, atol=1e-10)
    without = modulated_deform_conv2d(x, offset, mask, weight, None, *geometry)
    torch.testing.assert_close(without + bias[:, None, None], result)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('geometry', GEOMETRIES)
def test_modulated_deform_conv_gradient(device, geometry):
    operands = [t.requires_grad_() for t in inputs(geometry, device, batch=1)]
    assert torch.autograd.gradcheck(
        lambda *t: modulated_deform_conv2d(*t, *geometry), operands, nondet_tol=1e-9
    )


def test_without_displacement_it_is_a_convolution():
    x, offset, mask, weight, bias = inputs(GEOMETRIES[0])
    plain = F.conv2d(x, weight, bias, padding=1)
    still = modulated_deform_conv2d(
        x, 0 * offset, torch.ones_like(mask), weight, bias, *GEOMETRIES[0]
    )
    torch.testing.assert_close(still, plain)


def test_modulated_deform_conv_reads_a_larger_field_as_memory():
    # DyHead (mmdet) gives a level the offsets of the level below, four times as many.
    x, _, _, weight, bias = inputs(GEOMETRIES[0], batch=2)
    offset = torch.randn(2, 18, 8, 8, dtype=torch.float64)
    mask = torch.rand(2, 9, 8, 8, dtype=torch.float64)
    read = offset.flatten(1)[:, : 18 * 30].reshape(2, 18, 6, 5)
    read_mask = mask.flatten(1)[:, : 9 * 30].reshape(2, 9, 6, 5)
    result = modulated_deform_conv2d(x, offset, mask, weight, bias, *GEOMETRIES[0])
    expected = naive(x, read, read_mask, weight, bias, GEOMETRIES[0])
    torch.testing.assert_close(result, expected, rtol=1e-9, atol=1e-10)
    operands = [t.requires_grad_() for t in (offset[:1, :, :6, :6], mask[:1, :, :6, :6])]
    assert torch.autograd.gradcheck(
        lambda o, m: modulated_deform_conv2d(x[:1], o, m, weight, bias, *GEOMETRIES[0]), operands
    )
    with pytest.raises(ValueError, match='offset is .2, 2., smaller'):
        modulated_deform_conv2d(x, offset[..., :2, :2], mask, weight, bias, *GEOMETRIES[0])


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_deform_conv_under_autocast(dtype):
    # The offsets come from a convolution and so in half precision, the input in float32.
    layer = DeformConv2dPack(4, 4, 3, padding=1)
    x = torch.randn(2, 4, 6, 6, requires_grad=True)
    with torch.autocast('cpu', dtype):
        result = layer(x)
    result.float().sum().backward()
    assert result.dtype == dtype and torch.isfinite(x.grad).all()
    # An untrained layer has offsets of zero.
    expected = F.conv2d(x, layer.weight, padding=1)
    torch.testing.assert_close(result.float(), expected, rtol=0.05, atol=0.05)


@pytest.mark.parametrize('device', DEVICES)
def test_masked_conv(device):
    x, _, _, weight, bias = inputs(GEOMETRIES[0], device, batch=1)
    mask = (torch.rand(1, 6, 5, device=device) > 0.5).double()
    result = masked_conv2d(x, mask, weight, bias, 1)
    expected = F.conv2d(x, weight, bias, padding=1) * mask[:, None]
    torch.testing.assert_close(result, expected, rtol=1e-9, atol=1e-10)
    assert not masked_conv2d(x, 0 * mask, weight, bias, 1).any()
