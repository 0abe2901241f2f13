"""VICRegL's, SetSim's and SCRL's losses against their definitions, entry by entry."""

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


def naive_set_info_nce(query, keys, positives, negatives, temperature):
    def cosine(a, b):
        return (a @ b) / a.norm() / b.norm() / temperature

    total = 0.0
    for b in range(len(query)):
        cells = []
        for n in range(query.shape[1]):
            own = [cosine(query[b, n], keys[b, m]) for m in range(keys.shape[1]) if positives[b, n, m]]
            if not own:
                continue
            others = [cosine(query[b, n], k) for k in negatives]
            mass = sum(torch.exp(v) for v in own + others)
            cells.append(sum(-torch.log(torch.exp(v) / mass) for v in own) / len(own))
        total = total + (sum(cells) / len(cells) if cells else 0.0)
    return total / len(query)


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


@pytest.fixture
def positives():
    """Cells with three, two and one positives and with none; an image with none at all."""
    mask = torch.zeros(3, 4, 5, dtype=torch.bool)
    mask[0, 0, :3] = mask[0, 2, 3] = mask[1, 1, [0, 4]] = True
    return mask


@pytest.mark.parametrize('temperature', [0.2, 1.0])
def test_set_info_nce_equals_the_definition(agree, draw, positives, temperature):
    query, keys, negatives = draw((3, 4, 6), (3, 5, 6), (7, 6))
    agree(
        lambda q, k: L.set_info_nce(q, k, positives, negatives, temperature),
        lambda q, k: naive_set_info_nce(q, k, positives, negatives, temperature),
        query,
        keys,
    )


def test_one_positive_a_cell_is_info_nce(draw):
    query, keys, negatives = draw((2, 3, 6), (2, 3, 6), (7, 6))
    mask = torch.eye(3, dtype=torch.bool).expand(2, -1, -1)
    got = L.set_info_nce(query, keys, mask, negatives, 0.2)
    want = L.info_nce(query.flatten(0, 1), keys.flatten(0, 1), negatives, 0.2)
    torch.testing.assert_close(got, want)


def test_no_positive_is_zero_with_zero_gradient(draw):
    query, keys, negatives = draw((2, 3, 6), (2, 3, 6), (7, 6))
    query.requires_grad_()
    loss = L.set_info_nce(query, keys, torch.zeros(2, 3, 3, dtype=torch.bool), negatives, 0.2)
    loss.backward()
    assert loss.item() == 0
    assert (query.grad == 0).all()


def test_region_distances(agree, draw):
    agree(
        lambda p, k: L.region_distances(p, k).mean(),
        lambda p, k: sum(
            ((a / a.norm() - b / b.norm()) ** 2).sum() for a, b in zip(p, k, strict=True)
        ) / len(p),
        *draw((5, 4), (5, 4)),
    )  # fmt: skip


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float32])
def test_in_autocast_the_losses_are_float32(draw, positives, dtype):
    query, keys, negatives = (x.to(dtype) for x in draw((3, 4, 6), (3, 5, 6), (7, 6)))
    with torch.autocast('cpu', torch.bfloat16):
        found = [
            L.set_info_nce(query, keys, positives, negatives, 0.2),
            L.position_vicreg(query, query, 25, 25, 1),
            L.region_distances(query[0], query[1]),
        ]
    assert all(value.dtype == torch.float32 for value in found)
