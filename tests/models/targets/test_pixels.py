"""Pixels as what is predicted, against loops."""

import pytest
import torch

from densecl.models.losses.functional import masked_pixel_loss
from densecl.models.targets.pixels import Pixels
from tests.oracles.masked import masked_pixels, patch_vectors


@pytest.fixture
def images():
    return torch.randn(2, 3, 8, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_the_order_is_row_column_channel(images):
    (level,) = Pixels(patch=4)(images)
    assert level.shape == (2, 48, 2, 3)
    torch.testing.assert_close(level.flatten(2).transpose(1, 2), patch_vectors(images, 4), rtol=0, atol=0)


def test_a_normalised_patch_has_mean_0_and_unbiased_variance_1(images):
    (level,) = Pixels(patch=4, normalise=True)(images)
    torch.testing.assert_close(level.mean(1), torch.zeros(2, 2, 3, dtype=torch.float64))
    torch.testing.assert_close(level.var(1), torch.ones(2, 2, 3, dtype=torch.float64), rtol=1e-4, atol=0)


def test_a_constant_patch_is_finite_in_half_precision():
    (level,) = Pixels(patch=4, normalise=True)(torch.full((1, 3, 8, 8), 2.0, dtype=torch.float16))
    assert level.dtype == torch.float32
    assert torch.equal(level, torch.zeros_like(level))


def test_patches_must_fill_the_image(images):
    with pytest.raises(ValueError, match='patches of 5 px do not fill images of 8 x 12 px'):
        Pixels(patch=5)(images)


@pytest.mark.parametrize('normalise', [False, True])
def test_masked_pixel_loss(images, normalise):
    prediction = torch.randn(2, 6, 48, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[1, 0, 0, 1, 1, 0], [0, 0, 0, 0, 1, 0]])
    loss = masked_pixel_loss(prediction, images, mask, 4, normalise)
    assert loss.item() == pytest.approx(masked_pixels(prediction, images, mask, 4, normalise), rel=1e-10)
    (gradient,) = torch.autograd.grad(loss, prediction)
    assert torch.equal(gradient.abs().sum(2) > 0, mask.bool())  # four masked patches of 48 values
    few = prediction[:, :, :3].detach().requires_grad_()

    def values(x):
        guess = torch.cat([x, prediction[:, :, 3:].detach()], 2)
        return masked_pixel_loss(guess, images, mask, 4, normalise)

    assert torch.autograd.gradcheck(values, few)


def test_without_a_masked_patch_it_is_0(images):
    prediction = torch.randn(2, 6, 48, dtype=torch.float64, requires_grad=True)
    loss = masked_pixel_loss(prediction, images, torch.zeros(2, 6), 4)
    loss.backward()
    assert loss.item() == 0
    assert prediction.grad.abs().max() == 0


@pytest.mark.parametrize('normalise', [False, True])
def test_images_from_what_is_predicted(images, normalise):
    """The true patches make the true image; a prediction gets mean and deviation of each true patch."""
    target = Pixels(patch=4, normalise=normalise)
    torch.testing.assert_close(target.images(target(images)[0], images), images)
    guess = torch.zeros(2, 48, 2, 3, dtype=torch.float64)
    patch = images[1, :, 4:, 8:]
    want = patch.mean().expand(3, 4, 4) if normalise else torch.zeros(3, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(target.images(guess, images)[1, :, 4:, 8:], want)
