"""VICRegL's and SCRL's losses against their definitions, entry by entry."""

import math

import pytest
import torch

from densecl.models.losses import functional as L


def naive_position_vicreg(first, second, invariance, variance, covariance):
    batch, positions, channels = first.shape
    loss = invariance * sum(((a - b) ** 2).sum() for a, b in zip(first, second, strict=True)) / first.numel()
    for side in (first, second):
        for p in range(positions):
            x = side[:, p] - sum(side[:, p]) / batch
            for i in range(channels):
                for j in range(channels):
                    c = sum(x[b, i] * x[b, j] for b in range(batch)) / (batch - 1)
                    if i == j:
                        term = variance * torch.relu(1 - torch.sqrt(c + 1e-4))
                    else:
                        term = covariance * c**2
                    loss = loss + term / channels / positions / 2
    return loss


@pytest.mark.parametrize('weights', [(25, 25, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_position_vicreg_equals_the_definition(agree, draw, weights):
    first, second = draw((5, 3, 4), (5, 3, 4))
    scale = torch.tensor([0.3, 0.5, 1.5, 2.0])  # channels on both sides of the hinge
    agree(
        lambda a, b: L.position_vicreg(a, b, *weights),
        lambda a, b: naive_position_vicreg(a, b, *weights),
        first * scale,
        second * scale,
    )


def test_one_position_is_vicreg_with_half_the_covariance(draw):
    first, second = draw((6, 1, 4), (6, 1, 4))
    torch.testing.assert_close(
        L.position_vicreg(first, second, 25, 25, 1), L.vicreg(first[:, 0], second[:, 0], 25, 25, 0.5)
    )


def test_positions_are_apart(draw):
    """Cells that differ between positions, but not between images, are collapsed."""
    (grid,) = draw((1, 9, 4))
    same = grid.expand(6, -1, -1)
    assert L.position_covariance(same).item() == pytest.approx(0, abs=1e-12)
    assert L.position_vicreg(same, same, 0, 1, 0).item() == pytest.approx(1 - math.sqrt(1e-4))


def test_covariance_is_the_mean_of_all_positions(draw):
    """The official fast form keeps the last view's only."""
    (x,) = draw((6, 5, 4))
    want = sum(L.covariance_penalty(x[:, p]) for p in range(5)) / 5
    torch.testing.assert_close(L.position_covariance(x), want)


def test_position_vicreg_needs_two_images():
    with pytest.raises(ValueError, match='at least 2'):
        L.position_vicreg(torch.ones(1, 3, 4), torch.ones(1, 3, 4), 25, 25, 1)


def test_region_distances(agree, draw):
    agree(
        lambda p, k: L.region_distances(p, k).mean(),
        lambda p, k: sum(
            ((a / a.norm() - b / b.norm()) ** 2).sum() for a, b in zip(p, k, strict=True)
        ) / len(p),
        *draw((5, 4), (5, 4)),
    )  # fmt: skip


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float32])
def test_in_autocast_the_losses_are_float32(draw, dtype):
    (query,) = (x.to(dtype) for x in draw((3, 4, 6)))
    with torch.autocast('cpu', torch.bfloat16):
        found = [
            L.position_vicreg(query, query, 25, 25, 1),
            L.region_distances(query[0], query[1]),
        ]
    assert all(value.dtype == torch.float32 for value in found)
