"""The batched operators against torchvision, for the same parameters."""

import math

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as TF

from densecl.datasets.transforms import Photometric, apply_photometric_uint8
from densecl.models.data_preprocessors import apply_photometric
from densecl.models.data_preprocessors import photometric as ops
from densecl.models.data_preprocessors.photometric import in_one_kernel
from densecl.structures import PhotometricParams
from densecl.structures.views import stack

LEVEL = 1.0  # everything here is on the scale 0..255
RECIPE = Photometric(0.4, 0.4, 0.4, 0.1, 0.8, 0.2, 0.5, (0.1, 2.0), 0.2)


def batch(count: int, height: int = 40, width: int = 52) -> torch.Tensor:
    """Noise with black, white and grey areas, uint8 (B, 3, H, W)."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, height, width), generator=generator)
    images[:, :, :4], images[:, :, 4:8] = 0, 255
    images[:, :, 8:16] = images[:, :1, 8:16]
    return images.to(torch.uint8)


def draw(count: int, recipe: Photometric = RECIPE) -> PhotometricParams:
    rng = np.random.default_rng(0)
    return stack([recipe.draw(rng) for _ in range(count)])


def one(params: PhotometricParams, i: int) -> PhotometricParams:
    return PhotometricParams(params.values[i])


CASES = [
    (ops.brightness, TF.adjust_brightness, (0.0, 0.37, 0.6, 1.0, 1.43, 1.8)),
    (ops.contrast, TF.adjust_contrast, (0.0, 0.37, 0.6, 1.0, 1.43, 1.8)),
    (ops.saturation, TF.adjust_saturation, (0.0, 0.37, 0.6, 1.0, 1.43, 1.8)),
    (ops.hue, TF.adjust_hue, (-0.5, -0.33, -0.1, 0.0, 0.07, 0.4, 0.5)),
    (ops.solarize, lambda x, t: TF.solarize(x, t / 255), (0.0, 50.0, 128.0, 255.0)),
    (ops.gray, lambda x, _: TF.rgb_to_grayscale(x, 3), (0.0, 0.0)),
]


@pytest.mark.parametrize(('operator', 'reference', 'factors'), CASES)
def test_operator_equals_torchvision(operator, reference, factors):
    images = batch(len(factors))
    result = operator(images.float(), torch.tensor(factors))
    for image, factor, got in zip(images, factors, result, strict=True):
        expected = reference(image.double() / 255, factor) * 255
        assert (got - expected).abs().max() < 1e-2
        if operator is not ops.solarize:
            # On uint8 images torchvision cuts fractions off; so do we for the comparison.
            as_uint8 = reference(image, factor).float()
            assert ((got + 1e-3).floor() - as_uint8).abs().max() <= LEVEL


def test_hue_of_noise_is_as_exact_as_torchvision_in_float():
    images = batch(4)
    shifts = torch.tensor([-0.1, -0.02, 0.03, 0.1])
    got = ops.hue(images.float(), shifts)
    for image, shift, result in zip(images, shifts.tolist(), got, strict=True):
        exact = TF.adjust_hue(image.double() / 255, shift) * 255
        theirs = TF.adjust_hue(image.float() / 255, shift) * 255
        assert (result - exact).abs().max() <= max((theirs - exact).abs().max(), 2e-3)


@pytest.mark.parametrize('shape', [(40, 52), (224, 96)])
def test_blur_equals_torchvision(shape):
    sigmas = torch.tensor([0.1, 0.3, 0.77, 1.0, 1.5, 2.0])
    images = batch(len(sigmas), *shape).float()
    result = ops.blur(images, sigmas)
    for image, sigma, got in zip(images, sigmas.tolist(), result, strict=True):
        size = 2 * math.ceil(4 * sigma) + 1
        expected = TF.gaussian_blur(image.double(), [size, size], [sigma, sigma])
        assert (got - expected).abs().max() < 1e-2
        # Four sigma are enough: a wider kernel gives the same picture.
        wide = TF.gaussian_blur(image.double(), [31, 31], [sigma, sigma])
        assert (got - wide).abs().max() < 0.1


@pytest.mark.parametrize('shape', [(1, 1), (1, 9), (2, 3), (5, 4)])
def test_blur_of_pictures_smaller_than_the_kernel(shape):
    images = torch.full((2, 3, *shape), 77.0)
    torch.testing.assert_close(ops.blur(images, torch.tensor([0.5, 2.0])), images)


def test_blur_ignores_autocast():
    images, sigma = batch(2).float(), torch.tensor([0.8, 1.9])
    with torch.autocast('cpu', dtype=torch.bfloat16):
        inside = ops.blur(images, sigma)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, ops.blur(images, sigma))


def torchvision_chain(image: torch.Tensor, params: PhotometricParams) -> torch.Tensor:
    """The chain of MoCo v2 and BYOL, operator by operator, on one image in 0..1 or uint8."""
    adjust = (TF.adjust_brightness, TF.adjust_contrast, TF.adjust_saturation, TF.adjust_hue)
    if params.jitter:
        for op in params.order.tolist():
            image = adjust[op](image, float(params.factors[op]))
    if params.gray:
        image = TF.rgb_to_grayscale(image, 3)
    if params.sigma > 0:
        size = 2 * math.ceil(4 * float(params.sigma)) + 1
        image = TF.gaussian_blur(image, [size, size], [float(params.sigma)] * 2)
    if params.solarize < 256:
        threshold = float(params.solarize)
        image = TF.solarize(image, threshold if image.dtype == torch.uint8 else threshold / 255)
    return image


def away_from_threshold(image: torch.Tensor, params: PhotometricParams) -> torch.Tensor:
    """Where solarising is not a matter of the last digit: a value just below stays, one above not."""
    before = params.replaced(solarize=256.0)
    return (torchvision_chain(image.double() / 255, before) * 255 - params.solarize).abs() > 4


def test_chain_equals_torchvision_within_one_level():
    images, params = batch(64), draw(64)
    result = apply_photometric(images.float(), params)
    assert len({tuple(order) for order in params.order.tolist()}) > 15
    for i, image in enumerate(images):
        expected = torchvision_chain(image.double() / 255, one(params, i)) * 255
        clear = away_from_threshold(image, one(params, i))
        assert ((result[i] - expected).abs() * clear).max() <= 0.1 * LEVEL


def test_chain_is_near_the_uint8_chains():
    """Up to six roundings: a few levels at most, well under half a level on average."""
    images, params = batch(64), draw(64)
    result = apply_photometric(images.float(), params)
    for i, image in enumerate(images):
        clear = away_from_threshold(image, one(params, i))
        pixels = apply_photometric_uint8(image.permute(1, 2, 0).contiguous().numpy(), one(params, i))
        worker = torch.from_numpy(pixels).permute(2, 0, 1).float()
        error = (worker - result[i]).abs() * clear
        assert error.mean() < 0.6 and error.max() <= 6
        torchvision = torchvision_chain(image, one(params, i)).float()
        error = (torchvision - result[i]).abs() * clear
        assert error.mean() < 3  # it cuts off where we round


def test_batch_equals_sample_by_sample():
    images, params = batch(24).float(), draw(24)
    together = apply_photometric(images.clone(), params)
    for i in range(len(images)):
        alone = stack([one(params, i)])
        single = apply_photometric(images[i : i + 1].clone(), alone)
        torch.testing.assert_close(together[i], single[0], rtol=0, atol=1e-3)
    assert torch.equal(together, apply_photometric(images.clone(), params))


def test_nothing_to_apply_leaves_the_images():
    images = batch(3).float()
    assert torch.equal(apply_photometric(images.clone(), draw(3, Photometric())), images)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_device_equals_cpu():
    images, params = batch(64, 224, 224).float(), draw(64)
    cpu = apply_photometric(images.clone(), params)
    gpu = apply_photometric(images.cuda(), params).cpu()
    assert ((gpu - cpu).abs() > 0.1).float().mean() < 1e-4  # solarise at its very threshold


def test_compiled_operators_equal_plain_ones_whatever_the_number_of_images():
    """One compilation serves batches and sizes; the tests of torch's counter would see another."""
    torch._dynamo.reset()
    in_one_kernel.cache_clear()
    for count, height in ((5, 40), (9, 40), (6, 56)):
        params = draw(count)
        plain, compiled = (
            apply_photometric(batch(count, height).float(), params, how) for how in (False, True)
        )
        torch.testing.assert_close(compiled, plain, rtol=1e-5, atol=1e-3)  # of 255
    torch._dynamo.reset()
