"""RoIAlign, RoIPool and deformable RoI pooling against loops over cells, with gradients."""

import math

import numpy as np
import pytest
import torch

pytest.importorskip('mmcv')

from mmcv.ops import deform_roi_pool, roi_align, roi_pool

DEVICES = ['cpu', pytest.param('cuda', marks=pytest.mark.gpu)]
ROIS = [[0, 3, 2, 20, 17], [1, 0, 0, 31, 31], [1, -5, 10, 9, 37], [0, 12.3, 7.7, 13.1, 8.2]]
SCALE = 0.25


def inputs(dtype=torch.float64, device='cpu'):
    generator = torch.Generator().manual_seed(0)
    feature = torch.randn(2, 3, 8, 8, generator=generator, dtype=torch.float64)
    return feature.to(device, dtype), torch.tensor(ROIS, device=device, dtype=dtype)


def sample(plane, y, x):
    """Bilinear sample of a (H, W) array with the border rule of RoIAlign."""
    height, width = plane.shape
    if y < -1 or y > height or x < -1 or x > width:
        return 0.0
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    y0, x0 = int(y), int(x)
    y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
    ly, lx = y - y0, x - x0
    upper = plane[y0, x0] * (1 - lx) + plane[y0, x1] * lx
    lower = plane[y1, x0] * (1 - lx) + plane[y1, x1] * lx
    return upper * (1 - ly) + lower * ly


def naive_align(feature, rois, size, scale, ratio, mode, aligned, offset=None, gamma=0.1):
    feature, out = feature.numpy(), np.zeros((len(rois), feature.shape[1], size, size))
    for k, (image, *box) in enumerate(rois.tolist()):
        x1, y1, x2, y2 = (c * scale - 0.5 * aligned for c in box)
        w, h = x2 - x1, y2 - y1
        if not aligned:
            w, h = max(w, 1.0), max(h, 1.0)
        ny = ratio or max(math.ceil(h / size), 1)
        nx = ratio or max(math.ceil(w / size), 1)
        for c, i, j in np.ndindex(out.shape[1:]):
            dx, dy = (0, 0) if offset is None else (offset[k, :, i, j] * gamma).tolist()
            values = [
                sample(
                    feature[int(image), c],
                    y1 + dy * h + (i + (a + 0.5) / ny) * h / size,
                    x1 + dx * w + (j + (b + 0.5) / nx) * w / size,
                )
                for a in range(ny)
                for b in range(nx)
            ]
            out[k, c, i, j] = max(values) if mode == 'max' else np.mean(values)
    return torch.from_numpy(out)


def naive_pool(feature, rois, size, scale):
    feature, out = feature.numpy(), np.zeros((len(rois), feature.shape[1], size, size))
    height, width = feature.shape[2:]
    for k, (image, x1, y1, x2, y2) in enumerate(rois.tolist()):
        x1, y1, x2, y2 = x1 * scale, y1 * scale, (x2 + 1) * scale, (y2 + 1) * scale
        for c, i, j in np.ndindex(out.shape[1:]):
            top = max(math.floor(y1 + i * (y2 - y1) / size), 0)
            bottom = min(math.ceil(y1 + (i + 1) * (y2 - y1) / size), height)
            left = max(math.floor(x1 + j * (x2 - x1) / size), 0)
            right = min(math.ceil(x1 + (j + 1) * (x2 - x1) / size), width)
            if bottom > top and right > left:
                out[k, c, i, j] = feature[int(image), c, top:bottom, left:right].max()
    return torch.from_numpy(out)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('ratio', [0, 2])
@pytest.mark.parametrize('mode', ['avg', 'max'])
def test_roi_align(device, aligned, ratio, mode):
    feature, rois = inputs(device=device)
    result = roi_align(feature, rois, 3, SCALE, ratio, mode, aligned)
    expected = naive_align(feature.cpu(), rois.cpu(), 3, SCALE, ratio, mode, aligned)
    torch.testing.assert_close(result.cpu(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('mode', ['avg', 'max'])
def test_roi_align_gradient(device, mode):
    feature, rois = inputs(device=device)
    feature.requires_grad_()
    # Atomic additions on a GPU come in any order.
    assert torch.autograd.gradcheck(
        lambda f: roi_align(f, rois, 2, SCALE, 2, mode, True), [feature], nondet_tol=1e-10
    )


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_roi_align_in_half_precision(dtype):
    feature, rois = inputs()
    low = feature.to(dtype).requires_grad_()
    result = roi_align(low, rois.to(dtype), 3, SCALE, 0, 'avg', True)
    result.sum().backward()
    expected = naive_align(
        low.detach().double(), rois.to(dtype).double(), 3, SCALE, 0, 'avg', True
    )
    assert result.dtype == low.grad.dtype == dtype
    torch.testing.assert_close(result.double(), expected, rtol=0.01, atol=0.01)


def test_roi_align_without_regions():
    feature = inputs()[0].requires_grad_()
    result = roi_align(feature, torch.zeros(0, 5, dtype=torch.float64), 3, SCALE, 0, 'avg', True)
    result.sum().backward()
    assert result.shape == (0, 3, 3, 3) and not feature.grad.any()


@pytest.mark.parametrize('device', DEVICES)
def test_roi_pool(device):
    feature, rois = inputs(device=device)
    feature.requires_grad_()
    expected = naive_pool(feature.detach().cpu(), rois.cpu(), 3, SCALE)
    torch.testing.assert_close(roi_pool(feature, rois, 3, SCALE).cpu(), expected)
    assert torch.autograd.gradcheck(
        lambda f: roi_pool(f, rois, 3, SCALE), [feature], nondet_tol=1e-10
    )


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('ratio', [0, 2])
def test_deform_roi_pool(device, ratio):
    feature, rois = inputs(device=device)
    offset = torch.rand(len(rois), 2, 2, 2, device=device, dtype=torch.float64)
    result = deform_roi_pool(feature, rois, offset, 2, SCALE, ratio, 0.1)
    expected = naive_align(
        feature.cpu(), rois.cpu(), 2, SCALE, ratio, 'avg', True, offset.cpu(), 0.1
    )
    torch.testing.assert_close(result.cpu(), expected, rtol=1e-9, atol=1e-12)
    without = deform_roi_pool(feature, rois, None, 2, SCALE, ratio, 0.1)
    plain = roi_align(feature, rois, 2, SCALE, ratio, 'avg', True)
    torch.testing.assert_close(without, plain, rtol=1e-9, atol=1e-12)


def test_deform_roi_pool_gradient():
    feature, rois = inputs()
    feature.requires_grad_()
    offset = torch.rand(len(rois), 2, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda f, o: deform_roi_pool(f, rois, o, 2, SCALE, 2, 0.1), [feature, offset]
    )
