"""Barlow Twins, VICReg and VICRegL against the papers' formulas, written out entry by entry."""

import pytest
import torch

from densecl.models.losses import BarlowTwins, PositionVICReg, VICReg
from densecl.models.losses.functional import barlow_twins, vicreg
from densecl.structures import Comparison


def two(rows=7, dim=5):
    return torch.randn(2, rows, dim, dtype=torch.float64).unbind()


def score(objective, first, second, answers=None):
    """Of (B, D) rows, or of (B, N, D) units."""
    make = Comparison.of_rows if first.ndim == 2 else Comparison.of_sets
    return objective.score(make(first, second) if answers is None else make(first, second, answers))


def grads(loss, *inputs):
    return torch.autograd.grad(loss, inputs)


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
    loss, diagnostics = score(BarlowTwins(redundancy_weight=0.3), a, b)
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
    loss, terms = score(VICReg(25.0, 20.0, 3.0, form=form), a, b)
    torch.testing.assert_close(loss, want, rtol=0, atol=1e-10)
    for mine, theirs in zip(grads(loss, a, b), grads(want, a, b), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)
    total = 25 * terms['invariance'] + 20 * terms['variance'] + 3 * terms['covariance']
    torch.testing.assert_close(total, loss.detach(), rtol=0, atol=1e-10)
    if form == 'code':
        torch.testing.assert_close(loss, vicreg(a, b, 25.0, 20.0, 3.0), rtol=0, atol=1e-10)


@pytest.mark.parametrize('objective', [BarlowTwins(0.3), VICReg()])
def test_units_are_rows_and_each_meets_its_answer(objective):
    first, second = torch.randn(2, 3, 4, 5, dtype=torch.float64).unbind()
    answers = torch.stack([torch.randperm(4) for _ in range(3)])
    matched = torch.cat([x[index] for x, index in zip(second, answers, strict=True)])
    got, want = score(objective, first, second, answers)[0], score(objective, first.flatten(0, 1), matched)[0]
    torch.testing.assert_close(got, want, rtol=1e-12, atol=0)


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


@pytest.mark.parametrize('weights', [(25, 20, 2), (1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_position_vicreg(weights):
    scale = torch.tensor([0.3, 0.5, 1.5, 2.0])  # channels on both sides of the hinge
    first, second = (
        (x * scale).requires_grad_() for x in torch.randn(2, 5, 3, 4, dtype=torch.float64).unbind()
    )
    loss, found = score(PositionVICReg(*weights), first, second)
    want = naive_position_vicreg(first, second, *weights)
    torch.testing.assert_close(loss, want, rtol=0, atol=1e-10)
    for mine, theirs in zip(grads(loss, first, second), grads(want, first, second), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)
    total = sum(w * found[n] for w, n in zip(weights, ('invariance', 'variance', 'covariance'), strict=True))
    torch.testing.assert_close(total, loss.detach())


def test_one_position_is_vicreg_with_half_the_covariance():
    a, b = two()
    got, want = score(PositionVICReg(), a[:, None], b[:, None])[0], vicreg(a, b, 25, 25, 0.5)
    torch.testing.assert_close(got, want)


def test_positions_are_apart():
    """Cells that differ between positions, but not between images, are collapsed."""
    same = torch.randn(1, 9, 4, dtype=torch.float64).expand(6, -1, -1)
    _, found = score(PositionVICReg(), same, same)
    assert found['covariance'].item() == pytest.approx(0, abs=1e-12)
    assert found['variance'].item() == pytest.approx(0.99)


@pytest.mark.parametrize('objective', [BarlowTwins(), VICReg(), PositionVICReg()])
def test_a_batch_of_one_has_no_variance(objective):
    with pytest.raises(ValueError, match='at least 2 for its variances, got 1: raise .*batch_size'):
        score(objective, torch.zeros(1, 4), torch.zeros(1, 4))


def test_vicreg_knows_its_forms():
    with pytest.raises(ValueError, match="'code' or 'paper', got 'x'"):
        VICReg(form='x')


@pytest.mark.parametrize('objective', [BarlowTwins(), VICReg(), PositionVICReg()])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
def test_float32_inside_autocast(objective, dtype):
    a, b = (x.to(dtype) for x in two(32, 16))
    want, _ = score(objective, a.float(), b.float())
    with torch.autocast('cpu', dtype=torch.bfloat16):
        got, _ = score(objective, a, b)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('objective', [BarlowTwins(), VICReg(), PositionVICReg()])
def test_zeros_have_a_finite_gradient(objective):
    zeros = torch.zeros(6, 4, dtype=torch.float16, requires_grad=True)
    loss, _ = score(objective, zeros, zeros)
    loss.backward()
    assert loss > 0 and zeros.grad.isfinite().all()
