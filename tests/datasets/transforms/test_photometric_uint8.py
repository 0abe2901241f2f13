"""The worker's operators and draws, against torchvision and against the distributions asked for."""

import math

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as TF

from densecl.datasets.transforms import Photometric
from densecl.datasets.transforms import photometric_uint8 as ops


def image(seed: int = 0) -> np.ndarray:
    """Noise with saturated, black, white and grey areas."""
    pixels = np.random.default_rng(seed).integers(0, 256, (60, 70, 3)).astype(np.uint8)
    pixels[:5], pixels[5:10] = 0, 255
    pixels[10:20] = pixels[10:20, :, :1]
    return pixels


def difference(view: np.ndarray, expected: torch.Tensor) -> float:
    """Largest difference in levels."""
    return float((torch.from_numpy(view).permute(2, 0, 1).double() - expected).abs().max())


def planes(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1).double() / 255


CASES = [
    ('brightness', TF.adjust_brightness, (0.0, 0.37, 0.6, 1.0, 1.43, 1.8)),
    ('contrast', TF.adjust_contrast, (0.0, 0.37, 0.6, 1.0, 1.43, 1.8)),
    ('saturation', TF.adjust_saturation, (0.0, 0.37, 0.6, 1.0, 1.43, 1.8)),
    ('hue', TF.adjust_hue, (-0.5, -0.33, -0.1, 0.0, 0.07, 0.4, 0.5)),
    ('solarize', lambda x, t: TF.solarize(x, t / 255), (0.0, 50.0, 128.0, 255.0)),
]


@pytest.mark.parametrize(('name', 'reference', 'factors'), CASES)
def test_operator_equals_torchvision_within_one_level(name, reference, factors):
    pixels = image()
    for factor in factors:
        view = getattr(ops, name)(pixels, factor)
        assert view.dtype == np.uint8
        assert difference(view, reference(planes(pixels), factor) * 255) <= 1
        if name != 'solarize':
            # On uint8, contrast and saturation of torchvision cut off twice: 1.6 off its own floats.
            bound = 2 if name in ('contrast', 'saturation') else 1
            as_uint8 = reference(torch.from_numpy(pixels).permute(2, 0, 1), factor)
            assert difference(view, as_uint8.double()) <= bound


def test_gray_equals_torchvision_within_one_level():
    expected = TF.rgb_to_grayscale(planes(image()), 3) * 255
    assert difference(ops.gray(image()), expected) <= 1


@pytest.mark.parametrize('sigma', [0.1, 0.4, 1.0, 1.7, 2.0])
def test_blur_equals_torchvision_within_one_level(sigma):
    size = 2 * math.ceil(4 * sigma) + 1
    expected = TF.gaussian_blur(planes(image()), [size, size], [sigma, sigma]) * 255
    assert difference(ops.blur(image(), sigma), expected) <= 0.51
    pixels = torch.from_numpy(image()).permute(2, 0, 1)
    as_uint8 = TF.gaussian_blur(pixels, [size, size], [sigma, sigma])
    assert difference(ops.blur(image(), sigma), as_uint8.double()) <= 1


def test_input_is_not_changed():
    pixels = image()
    for name, _, factors in CASES:
        getattr(ops, name)(pixels, factors[1])
    ops.gray(pixels), ops.blur(pixels, 1.0)
    assert np.array_equal(pixels, image())


def test_draws_follow_the_recipe():
    recipe = Photometric(0.4, 0.3, 1.2, 0.1, 0.8, 0.2, 0.5, (0.1, 2.0), 0.3, 100.0)
    rng = np.random.default_rng(0)
    drawn = [recipe.draw(rng) for _ in range(4000)]
    factors = torch.stack([p.factors for p in drawn])
    low, high = torch.tensor([0.6, 0.7, 0.0, -0.1]), torch.tensor([1.4, 1.3, 2.2, 0.1])
    assert (factors >= low).all() and (factors <= high).all()
    # mean and spread of a uniform distribution, five standard errors
    span = high - low
    assert ((factors.mean(0) - (low + high) / 2).abs() < 5 * span / math.sqrt(12 * 4000)).all()
    torch.testing.assert_close(factors.std(0), span / math.sqrt(12), rtol=0.05, atol=0)
    for values, probability in (
        ([bool(p.jitter) for p in drawn], 0.8),
        ([bool(p.gray) for p in drawn], 0.2),
        ([float(p.sigma) > 0 for p in drawn], 0.5),
        ([float(p.solarize) < 256 for p in drawn], 0.3),
    ):
        error = 5 * math.sqrt(probability * (1 - probability) / 4000)
        assert abs(np.mean(values) - probability) < error
    sigmas = torch.stack([p.sigma for p in drawn])
    assert sigmas[sigmas > 0].min() >= 0.1 and sigmas.max() <= 2
    assert {float(p.solarize) for p in drawn} == {100.0, 256.0}
    orders = {tuple(p.order.tolist()) for p in drawn}
    assert len(orders) == 24 and all(sorted(order) == [0, 1, 2, 3] for order in orders)


def test_parameters_have_the_documented_types():
    params = Photometric(jitter_prob=0.5).draw(np.random.default_rng(0))
    assert params.order.dtype == torch.int64 and params.order.shape == (4,)
    assert params.factors.dtype == torch.float32 and params.factors.shape == (4,)
    assert params.jitter.dtype == params.gray.dtype == torch.bool
    assert params.sigma.dtype == params.solarize.dtype == torch.float32
    assert params.sigma.shape == params.solarize.shape == params.jitter.shape == ()


def test_the_number_of_draws_does_not_depend_on_the_recipe():
    states = []
    for recipe in (Photometric(), Photometric(jitter_prob=1.0, blur_prob=1.0)):
        rng = np.random.default_rng(3)
        recipe.draw(rng)
        states.append(rng.random())
    assert states[0] == states[1]
