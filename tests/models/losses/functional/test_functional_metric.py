"""The triplet loss against its definition, row by row."""

import pytest
import torch

from densecl.models.losses import functional as L


@pytest.mark.parametrize('squared', [False, True])
@pytest.mark.parametrize('margin', [0.0, 0.2, 1.0])
def test_triplet_equals_the_definition(agree, draw, margin, squared):
    def distance(x, y):
        square = sum((a - b) ** 2 for a, b in zip(x / x.norm(), y / y.norm(), strict=True))
        return square if squared else torch.sqrt(square)

    def naive(anchor, positive, negative):
        total = anchor.sum() * 0
        for a, p, n in zip(anchor, positive, negative, strict=True):
            total = total + torch.relu(distance(a, p) - distance(a, n) + margin)
        return total / len(anchor)

    agree(
        lambda *x: L.triplet_margin(*x, margin, squared=squared),
        naive,
        *draw((6, 4), (6, 4), (6, 4)),
    )


def test_triplet_by_hand():
    anchor, positive, negative = torch.eye(3, dtype=torch.float64)[:, None]
    assert L.triplet_margin(anchor, positive, negative, 0.3).item() == pytest.approx(0.3)
    assert L.triplet_margin(anchor, positive, anchor, 0.3).item() == pytest.approx(2**0.5 + 0.3)
    assert L.triplet_margin(anchor, anchor, negative, 0.3).item() == 0
    squared = L.triplet_margin(anchor, positive, anchor, 0.3, squared=True)
    assert squared.item() == pytest.approx(2.3)


def test_triplet_gradient_is_finite_where_a_distance_is_zero(draw):
    anchor, negative = (x.requires_grad_() for x in draw((4, 3), (4, 3)))
    L.triplet_margin(anchor, anchor.detach().clone(), negative, 5.0).backward()
    assert torch.isfinite(anchor.grad).all()
    assert anchor.grad.abs().sum() > 0
