"""Deformable attention, CARAFE and point-wise spatial attention against loops."""

import numpy as np
import pytest
import torch

pytest.importorskip('mmcv')

from mmcv.ops import MultiScaleDeformableAttention, PSAMask, carafe
from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction

DEVICES = ['cpu', pytest.param('cuda', marks=pytest.mark.gpu)]
SHAPES = [[4, 3], [2, 2]]


def attention_inputs(device='cpu', queries=3):
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64).to(device)

    value = draw(2, 16, 2, 3) - 0.5
    locations = 1.2 * draw(2, queries, 2, 2, 4, 2) - 0.1
    weights = draw(2, queries, 2, 2, 4)
    return value, locations, weights


def attend(value, locations, weights):
    shapes = torch.tensor(SHAPES, device=value.device)
    starts = torch.tensor([0, 12], device=value.device)
    return MultiScaleDeformableAttnFunction.apply(value, shapes, starts, locations, weights, 64)


def at(plane, y, x):
    """Bilinear sample of (H, W, C), zero outside."""
    y0, x0 = int(np.floor(y)), int(np.floor(x))
    total = np.zeros(plane.shape[2])
    for i, j in ((y0, x0), (y0, x0 + 1), (y0 + 1, x0), (y0 + 1, x0 + 1)):
        if 0 <= i < plane.shape[0] and 0 <= j < plane.shape[1]:
            total += plane[i, j] * (1 - abs(y - i)) * (1 - abs(x - j))
    return total


def naive_attention(value, locations, weights):
    value, locations, weights = (t.cpu().numpy() for t in (value, locations, weights))
    out = np.zeros((2, locations.shape[1], 2, 3))
    starts = [0, 12]
    for b, q, head in np.ndindex(out.shape[:3]):
        for level, (height, width) in enumerate(SHAPES):
            start = starts[level]
            plane = value[b, start : start + height * width, head].reshape(height, width, 3)
            for point in range(4):
                x, y = locations[b, q, head, level, point]
                sampled = at(plane, y * height - 0.5, x * width - 0.5)
                out[b, q, head] += weights[b, q, head, level, point] * sampled
    return torch.from_numpy(out.reshape(2, -1, 6))


@pytest.mark.parametrize('device', DEVICES)
def test_deformable_attention(device):
    inputs = attention_inputs(device)
    torch.testing.assert_close(attend(*inputs).cpu(), naive_attention(*inputs))


@pytest.mark.parametrize('device', DEVICES)
def test_deformable_attention_gradient(device):
    inputs = [t.requires_grad_() for t in attention_inputs(device, queries=1)]
    assert torch.autograd.gradcheck(attend, inputs, nondet_tol=1e-9)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_deformable_attention_in_half_precision(dtype):
    inputs = [t.to(dtype) for t in attention_inputs()]
    result = attend(*inputs)
    assert result.dtype == dtype
    expected = naive_attention(*(t.double() for t in inputs))
    torch.testing.assert_close(result.double(), expected, rtol=0.02, atol=0.02)


@pytest.mark.gpu
def test_attention_module_is_the_same_on_the_gpu():
    module = MultiScaleDeformableAttention(16, num_heads=2, num_levels=2, num_points=2)
    query, value = torch.randn(5, 1, 16), torch.randn(16, 1, 16)
    reference = torch.rand(1, 5, 2, 2)
    shapes, starts = torch.tensor(SHAPES), torch.tensor([0, 12])

    def run(device):
        q, v, r, s, i = (t.to(device) for t in (query, value, reference, shapes, starts))
        return module.to(device).eval()(
            q, value=v, reference_points=r, spatial_shapes=s, level_start_index=i
        )

    torch.testing.assert_close(run('cuda').cpu(), run('cpu'), rtol=1e-4, atol=1e-5)


def naive_carafe(features, masks, kernel, groups, scale):
    features, masks = features.cpu().numpy(), masks.cpu().numpy()
    batch, channels, height, width = features.shape
    out = np.zeros((batch, channels, height * scale, width * scale))
    for b, c, i, j in np.ndindex(out.shape):
        group = c // (channels // groups)
        for k in range(kernel**2):
            y = i // scale + k // kernel - kernel // 2
            x = j // scale + k % kernel - kernel // 2
            if 0 <= y < height and 0 <= x < width:
                out[b, c, i, j] += features[b, c, y, x] * masks[b, group * kernel**2 + k, i, j]
    return torch.from_numpy(out)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('groups', [1, 2])
def test_carafe(device, groups):
    features = torch.randn(2, 4, 3, 2, dtype=torch.float64, device=device)
    masks = torch.rand(2, groups * 9, 6, 4, dtype=torch.float64, device=device)
    result = carafe(features, masks, 3, groups, 2)
    torch.testing.assert_close(result.cpu(), naive_carafe(features, masks, 3, groups, 2))
    inputs = [features[:1].requires_grad_(), masks[:1].requires_grad_()]
    assert torch.autograd.gradcheck(lambda f, m: carafe(f, m, 3, groups, 2), inputs)


def naive_psa(masks, kind, size):
    masks = masks.detach().cpu().numpy()
    batch, _, height, width = masks.shape
    out = np.zeros((batch, height * width, height, width))
    for b, i, j, h, w in np.ndindex(batch, *size, height, width):
        y, x = h + i - (size[0] - 1) // 2, w + j - (size[1] - 1) // 2
        if 0 <= y < height and 0 <= x < width:
            value = masks[b, i * size[1] + j, h, w]
            if kind == 'collect':
                out[b, y * width + x, h, w] = value
            else:
                out[b, h * width + w, y, x] = value
    return torch.from_numpy(out)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('kind', ['collect', 'distribute'])
@pytest.mark.parametrize('size', [(7, 5), (3, 3)])
def test_psa_mask(device, kind, size):
    masks = torch.randn(2, size[0] * size[1], 4, 3, dtype=torch.float64, device=device)
    masks.requires_grad_()
    operator = PSAMask(kind, size)
    torch.testing.assert_close(operator(masks).cpu(), naive_psa(masks, kind, size))
    assert torch.autograd.gradcheck(operator, [masks])
