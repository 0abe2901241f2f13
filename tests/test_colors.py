"""sRGB and L*a*b*: against the formulas of one pixel, OpenCV, and there and back."""

import cv2
import numpy as np
import pytest
import torch

from densecl.colors import gray_of, lab_to_rgb, linear_of, rgb_to_lab, srgb_of
from tests.oracles.colors import lab_of


@pytest.fixture
def rgb():
    """(2, 3, 8, 8) float64, with black, white, and values at the bends of the curves."""
    rgb = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rgb[0, :, 0, 0], rgb[0, :, 0, 1] = 0, 1
    rgb[0, :, 0, 2] = torch.tensor([0.04045, 0.0405, 0.01]).double()
    rgb[1, :, 1] *= 0.05
    return rgb


def test_pixel_by_pixel(rgb):
    lab = rgb_to_lab(rgb)
    for b, y, x in np.ndindex(2, 8, 8):
        want = lab_of(rgb[b, :, y, x].tolist())
        assert lab[b, :, y, x].tolist() == pytest.approx(want, abs=1e-9)


def test_as_opencv(rgb):
    """Of linear light it computes the roots; of sRGB it interpolates in a table of 33^3 colours."""
    found = rgb_to_lab(rgb).permute(0, 2, 3, 1).reshape(-1, 8, 3)
    for values, code, tolerance in (
        (linear_of(rgb), cv2.COLOR_LRGB2Lab, 0.01),
        (rgb, cv2.COLOR_RGB2Lab, 0.5),
    ):
        pixels = values.permute(0, 2, 3, 1).reshape(-1, 8, 3).float().numpy()
        want = torch.from_numpy(cv2.cvtColor(pixels, code)).double()
        torch.testing.assert_close(found, want, rtol=0, atol=tolerance)


def test_there_and_back(rgb):
    """The standard's two branches meet up to 3e-8 only, at 0.04045."""
    torch.testing.assert_close(lab_to_rgb(rgb_to_lab(rgb)), rgb, rtol=0, atol=1e-7)
    torch.testing.assert_close(srgb_of(linear_of(rgb)), rgb, rtol=0, atol=1e-7)
    assert torch.autograd.gradcheck(rgb_to_lab, rgb[1:, :, 2:4, 2:4].clone().requires_grad_())


def test_grey_has_the_lightness_and_no_colour(rgb):
    gray = gray_of(rgb)
    assert gray.shape == (2, 1, 8, 8)
    lab = rgb_to_lab(gray.expand(-1, 3, -1, -1))
    torch.testing.assert_close(lab[:, :1], rgb_to_lab(rgb)[:, :1], rtol=0, atol=1e-6)
    assert lab[:, 1:].abs().max() < 1e-9
    torch.testing.assert_close(gray_of(gray.expand(-1, 3, -1, -1)), gray, rtol=0, atol=1e-8)


def test_half_precision_is_computed_in_full(rgb):
    with torch.autocast('cpu', torch.bfloat16):
        lab = rgb_to_lab(rgb.half())
    assert lab.dtype == torch.float32
    torch.testing.assert_close(lab.double(), rgb_to_lab(rgb.half().double()), rtol=0, atol=1e-3)
