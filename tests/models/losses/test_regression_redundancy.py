"""Cosine and redundancy objectives against the papers' formulas, written out entry by entry."""

import math

import pytest
import torch

from densecl.models.losses import BarlowTwins, NegativeCosine, VICReg
from densecl.models.losses.functional import barlow_twins, vicreg


def two(rows=7, dim=5):
    return torch.randn(2, rows, dim, dtype=torch.float64).unbind()


def grads(loss, *inputs):
    return torch.autograd.grad(loss, inputs)


def cosine(x, y):
    dot = sum(float(a) * float(b) for a, b in zip(x, y, strict=True))
    return dot / math.sqrt(float((x * x).sum()) * float((y * y).sum()))


def test_negative_cosine_and_squared_distance():
    a, b = two()
    mean = sum(cosine(x, y) for x, y in zip(a, b, strict=True)) / 7
    loss, diagnostics = NegativeCosine()(a, b)
    assert float(loss) == pytest.approx(-mean, abs=1e-12)
    assert float(diagnostics['pos_sim']) == pytest.approx(mean, abs=1e-12)
    loss, diagnostics = NegativeCosine(squared_distance=True)(a, b)
    unit = [x / x.norm(dim=1, keepdim=True) for x in (a, b)]
    assert float(loss) == pytest.approx(float((unit[0] - unit[1]).square().sum(1).mean()), abs=1e-12)
    assert float(diagnostics['pos_sim']) == pytest.approx(mean, abs=1e-12)


def test_negative_cosine_leaves_gradients_to_the_head():
    a, b = (x.requires_grad_() for x in two())
    to_a, to_b = grads(NegativeCosine()(a, b)[0], a, b)
    assert float(to_a.norm()) > 0 and float(to_b.norm()) > 0
    assert torch.allclose((to_a * a).sum(1), torch.zeros(7).double(), atol=1e-12)  # tangent to the sphere


def naive_barlow(a, b, weight, eps=1e-5):
    rows, dim = a.shape
    a, b = ((x - x.mean(0)) / (x.var(0, unbiased=False) + eps).sqrt() for x in (a, b))
    loss = 0.0
    for i in range(dim):
        for j in range(dim):
            c = sum(a[r, i] * b[r, j] for r in range(rows)) / rows
            loss = loss + ((1 - c) ** 2 if i == j else weight * c**2)
    return loss


def test_barlow_twins():
    a, b = (x.requires_grad_() for x in two())
    want = naive_barlow(a, b, 0.3)
    loss, diagnostics = BarlowTwins(redundancy_weight=0.3)(a, b)
    torch.testing.assert_close(loss, want, rtol=0, atol=1e-10)
    torch.testing.assert_close(loss, barlow_twins(a, b, 0.3), rtol=0, atol=1e-10)
    for mine, theirs in zip(grads(loss, a, b), grads(want, a, b), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)
    corr = torch.corrcoef(torch.cat([a, b], 1).T)[:5, 5:].detach()
    assert float(diagnostics['correlation']) == pytest.approx(float(corr.diagonal().mean()), abs=1e-4)
    off = corr[~torch.eye(5, dtype=torch.bool)]
    assert float(diagnostics['redundancy']) == pytest.approx(float(off.square().mean().sqrt()), abs=1e-4)


def naive_vicreg(a, b, weights, form):
    rows, dim = a.shape
    distance = sum(((a[r] - b[r]) ** 2).sum() for r in range(rows)) / rows
    hinge = penalty = 0.0
    for x in (a, b):
        deviations = [(x[:, d].var(unbiased=True) + 1e-4).sqrt() for d in range(dim)]
        hinge = hinge + sum((1 - s).clamp(min=0) for s in deviations) / dim
        cov = torch.cov(x.T)
        penalty = penalty + (cov.square().sum() - cov.diagonal().square().sum()) / dim
    if form == 'code':
        distance, hinge = distance / dim, hinge / 2
    return weights[0] * distance + weights[1] * hinge + weights[2] * penalty


@pytest.mark.parametrize('form', ['code', 'paper'])
def test_vicreg(form):
    a, b = two()
    a, b = (a * 0.8).requires_grad_(), b.requires_grad_()
    want = naive_vicreg(a, b, (25.0, 20.0, 3.0), form)
    loss, terms = VICReg(25.0, 20.0, 3.0, form=form)(a, b)
    torch.testing.assert_close(loss, want, rtol=0, atol=1e-10)
    for mine, theirs in zip(grads(loss, a, b), grads(want, a, b), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)
    total = 25 * terms['invariance'] + 20 * terms['variance'] + 3 * terms['covariance']
    torch.testing.assert_close(total, loss.detach(), rtol=0, atol=1e-10)
    if form == 'code':
        torch.testing.assert_close(loss, vicreg(a, b, 25.0, 20.0, 3.0), rtol=0, atol=1e-10)


def test_vicreg_says_what_it_cannot_take():
    with pytest.raises(ValueError, match='at least 2'):
        VICReg()(torch.zeros(1, 4), torch.zeros(1, 4))
    with pytest.raises(ValueError, match="'code' or 'paper', got 'x'"):
        VICReg(form='x')


@pytest.mark.parametrize('objective', [NegativeCosine(), BarlowTwins(), VICReg()])
def test_float32_inside_autocast(objective):
    a, b = (x.float() for x in two(32, 16))
    want, _ = objective(a, b)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        got, _ = objective(a, b)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-6)
