"""Barlow Twins and VICReg against their definitions, entry by entry."""

import math

import pytest
import torch

from densecl.models.losses import functional as L
from densecl.models.losses.statistics import cross_correlation


def naive_barlow_twins(view1, view2, weight):
    """Eq. 1 on batch-normalised views, as the official code normalises them."""
    batch, channels = view1.shape

    def standardised(x):
        mean = sum(x) / batch
        return (x - mean) / torch.sqrt(sum((row - mean) ** 2 for row in x) / batch + 1e-5)

    z1, z2 = standardised(view1), standardised(view2)
    total = 0.0
    for i in range(channels):
        for j in range(channels):
            c = sum(z1[b, i] * z2[b, j] for b in range(batch)) / batch
            total = total + ((1 - c) ** 2 if i == j else weight * c**2)
    return total


def naive_vicreg(view1, view2, invariance, variance, covariance):
    batch, channels = view1.shape
    loss = invariance * sum(((a - b) ** 2).sum() for a, b in zip(view1, view2, strict=True))
    loss = loss / batch / channels
    for x in (view1, view2):
        x = x - sum(x) / batch
        for i in range(channels):
            for j in range(channels):
                c = sum(x[b, i] * x[b, j] for b in range(batch)) / (batch - 1)
                if i == j:
                    hinge = torch.relu(1 - torch.sqrt(c + 1e-4))
                    loss = loss + variance / 2 * hinge / channels
                else:
                    loss = loss + covariance * c**2 / channels
    return loss


@pytest.mark.parametrize('weight', [0.0, 0.0051, 1.0])
def test_barlow_twins_equals_the_definition(agree, draw, weight):
    agree(
        lambda a, b: L.barlow_twins(a, b, weight),
        lambda a, b: naive_barlow_twins(a, b, weight),
        *draw((7, 4), (7, 4)),
    )


def test_cross_correlation_is_batch_norms(draw):
    view1, view2 = draw((7, 4), (7, 4))
    bn = torch.nn.BatchNorm1d(4, affine=False).double()
    torch.testing.assert_close(
        cross_correlation(view1, view2), bn(view1).T @ bn(view2) / 7, rtol=0, atol=1e-12
    )


def test_barlow_twins_does_not_see_shift_or_sign_of_both(draw):
    view1, view2 = draw((7, 4), (7, 4))
    loss = L.barlow_twins(view1, view2, 0.1)
    torch.testing.assert_close(L.barlow_twins(view1 + 3, view2 - 5, 0.1), loss)
    torch.testing.assert_close(L.barlow_twins(-view1, -view2, 0.1), loss)


def test_barlow_twins_of_constant_features_is_the_number_of_channels():
    assert L.barlow_twins(torch.ones(7, 4), torch.ones(7, 4), 0.1).item() == 4


@pytest.mark.parametrize('weights', [(25, 25, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_vicreg_equals_the_definition(agree, draw, weights):
    view1, view2 = draw((6, 4), (6, 4))
    scale = torch.tensor([0.3, 0.5, 1.5, 2.0])  # channels on both sides of the hinge
    agree(
        lambda a, b: L.vicreg(a, b, *weights),
        lambda a, b: naive_vicreg(a, b, *weights),
        view1 * scale,
        view2 * scale,
    )


def test_vicreg_of_collapsed_features_is_the_full_hinge():
    ones = torch.ones(6, 4, requires_grad=True)
    loss = L.vicreg(ones, ones, 25, 25, 1)
    loss.backward()
    assert loss.item() == pytest.approx(25 * (1 - math.sqrt(1e-4)))
    assert torch.isfinite(ones.grad).all()


def test_vicreg_needs_two_rows():
    with pytest.raises(ValueError, match='at least 2'):
        L.vicreg(torch.ones(1, 4), torch.ones(1, 4), 25, 25, 1)
