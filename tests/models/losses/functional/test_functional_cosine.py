"""The cosine of rows and of cells against naive float64 forms, one pair at a time."""

import pytest
import torch
from torch.autograd import gradcheck

from densecl.models.losses import functional as L
from densecl.numerics import unit


def cosine(a, b):
    return float(a @ b / a.norm() / b.norm())


def maps(n=6, m=7, batch=4, channels=5):
    """Query and key cells (B, N, C), (B, M, C), and pairs: the first image has none, one query of the
    second neither, and the third image's cells are all positives of each other."""
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(batch, n, channels, generator=generator, dtype=torch.float64)
    keys = torch.randn(batch, m, channels, generator=generator, dtype=torch.float64)
    positives = torch.rand(batch, n, m, generator=generator) < 0.3
    positives[0], positives[1, 0], positives[2] = False, False, True
    return query, keys, positives


def naive_consistency(query, keys, positives):
    losses = []
    for q, k, mask in zip(query, keys, positives, strict=True):
        pairs = [cosine(q[i], k[j]) for i, j in mask.nonzero().tolist()]
        losses.append(-sum(pairs) / len(pairs) if pairs else 0.0)
    return sum(losses) / len(losses)


def test_negative_cosine_equals_the_definition(agree, draw):
    def naive(p, z):
        return -sum(torch.dot(a, b) / (a.norm() * b.norm()) for a, b in zip(p, z, strict=True)) / 5

    agree(L.negative_cosine, naive, *draw((5, 4), (5, 4)))


def test_negative_cosine_gives_byols_distance(draw):
    """BYOL sums ||q - z||^2 on unit vectors over both directions."""
    q1, q2, z1, z2 = draw(*[(5, 4)] * 4)
    byol = sum((unit(q) - unit(z)).square().sum(1).mean() for q, z in ((q1, z2), (q2, z1)))
    mean = (L.negative_cosine(q1, z2) + L.negative_cosine(q2, z1)) / 2
    torch.testing.assert_close(4 + 4 * mean, byol, rtol=0, atol=1e-12)


def test_negative_cosine_is_bounded_and_does_not_detach(draw):
    x, y = (x.requires_grad_() for x in draw((5, 4), (5, 4)))
    assert L.negative_cosine(x, 2 * x).item() == pytest.approx(-1)
    assert L.negative_cosine(x, -x).item() == pytest.approx(1)
    L.negative_cosine(x, y).backward()
    assert (y.grad != 0).any()


def test_consistency_equals_the_loop():
    query, keys, positives = maps()
    found = L.pixel_consistency(query.transpose(1, 2), keys.transpose(1, 2), positives)
    assert float(found) == pytest.approx(naive_consistency(query, keys, positives), rel=1e-12)


def test_consistency_of_equal_cells_is_minus_one():
    query = torch.randn(3, 5, 4)
    eye = torch.eye(4, dtype=torch.bool).expand(3, 4, 4)
    assert L.pixel_consistency(query, 2 * query, eye) == pytest.approx(-1, abs=1e-6)
    assert L.pixel_consistency(query, query, eye & False) == 0


def test_gradients_of_consistency():
    query, keys, positives = maps()
    inputs = [x.transpose(1, 2).clone().requires_grad_() for x in (query, keys)]
    assert gradcheck(lambda q, k: L.pixel_consistency(q, k, positives), inputs)
    L.pixel_consistency(*inputs, positives).backward()
    assert inputs[0].grad[0].abs().max() == 0  # the image without a pair


def test_cells_are_computed_in_float32_inside_autocast():
    query, keys, positives = maps()
    flat = [x.bfloat16().transpose(1, 2) for x in (query, keys)]
    same = L.pixel_consistency(*(x.float() for x in flat), positives)
    with torch.autocast('cpu', torch.bfloat16):
        assert L.pixel_consistency(*flat, positives) == same
