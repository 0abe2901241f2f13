"""Decoupled, debiased and hard-negative losses against their definitions, one anchor at a time."""

import math

import pytest
import torch

from densecl.models.losses import functional as L
from densecl.models.losses.forms import contrastive_terms
from densecl.models.losses.masses import debiased_log_mass
from densecl.numerics import unit


def anchors(view1, view2):
    """Of each of the 2N anchors: its index, the positive's cosine, the negatives' cosines."""
    z = [v / v.norm() for v in (*view1, *view2)]
    n = len(view1)
    for i in range(2 * n):
        positive = torch.dot(z[i], z[(i + n) % (2 * n)])
        yield i % n, positive, [torch.dot(z[i], z[k]) for k in range(2 * n) if k % n != i % n]


def naive_decoupled(view1, view2, temperature, sigma=None, detach=False):
    positives = [p / sigma if sigma else p for _, p, _ in anchors(view1, view2)][: len(view1)]
    weights = [1.0] * len(view1)
    if sigma:
        mean = sum(torch.exp(p) for p in positives) / len(view1)
        weights = [2 - torch.exp(p) / mean for p in positives]
    total = 0.0
    for i, positive, negatives in anchors(view1, view2):
        weight = weights[i].detach() if detach else weights[i]
        mass = sum(torch.exp(s / temperature) for s in negatives)
        total = total - weight * positive / temperature + torch.log(mass)
    return total / (2 * len(view1))


def naive_hard(view1, view2, temperature, prior, concentration):
    total = 0.0
    for _, positive, negatives in anchors(view1, view2):
        n = len(negatives)
        pos = torch.exp(positive / temperature)
        neg = torch.stack([torch.exp(s / temperature) for s in negatives])
        weights = neg**concentration
        mass = (weights * neg).sum() / weights.mean()
        mass = (mass - prior * n * pos) / (1 - prior)
        mass = torch.clamp(mass, min=n * math.exp(-1 / temperature))
        total = total - torch.log(pos / (pos + mass))
    return total / (2 * len(view1))


@pytest.mark.parametrize('sigma', [None, 0.5])
@pytest.mark.parametrize('temperature', [0.1, 0.5])
def test_decoupled_equals_the_definition(agree, draw, temperature, sigma):
    agree(
        lambda a, b: L.decoupled(a, b, temperature, sigma),
        lambda a, b: naive_decoupled(a, b, temperature, sigma),
        *draw((5, 4), (5, 4)),
    )


def test_detached_weights_change_the_gradient_and_not_the_value(draw):
    got = [x.requires_grad_() for x in draw((5, 4), (5, 4))]
    want = [x.detach().clone().requires_grad_() for x in got]
    loss = L.decoupled(*got, 0.1, 0.5, detach_weights=True)
    reference = naive_decoupled(*want, 0.1, 0.5, detach=True)
    torch.testing.assert_close(loss, reference, rtol=0, atol=1e-9)
    torch.testing.assert_close(loss, L.decoupled(*got, 0.1, 0.5), rtol=0, atol=1e-12)
    loss.backward()
    reference.backward()
    for mine, theirs in zip(got, want, strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=0, atol=1e-9)


def test_decoupling_removes_the_factor_from_the_gradient_of_nt_xent(draw):
    """grad NT-Xent_i = (1 - p_i+) grad DCL_i, anchor by anchor (Yeh et al., proposition 1)."""
    view1, view2 = draw((4, 3), (4, 3))
    z = torch.cat([unit(view1), unit(view2)]).requires_grad_()
    n, t = 4, 0.2
    same_image = torch.eye(n, dtype=torch.bool).repeat(2, 2)
    lse = (z @ z.T / t).masked_fill(same_image, -torch.inf).logsumexp(1)
    positive = (z * z.roll(n, 0)).sum(1) / t
    nt_xent, decoupled = contrastive_terms(positive, lse), lse - positive
    torch.testing.assert_close(nt_xent.mean(), L.nt_xent(view1, view2, t), rtol=0, atol=1e-12)
    torch.testing.assert_close(decoupled.mean(), L.decoupled(view1, view2, t), rtol=0, atol=1e-12)
    for i in range(2 * n):
        with_positive = torch.autograd.grad(nt_xent[i], z, retain_graph=True)[0]
        without = torch.autograd.grad(decoupled[i], z, retain_graph=True)[0]
        factor = 1 - torch.exp(-nt_xent[i].detach())
        torch.testing.assert_close(with_positive, factor * without, rtol=0, atol=1e-12)


def test_weights_of_equal_positives_are_one(draw):
    (view,) = draw((5, 4))
    torch.testing.assert_close(L.decoupled(view, view, 0.1, 0.5), L.decoupled(view, view, 0.1))


@pytest.mark.parametrize('prior', [0.0, 0.05, 0.1, 0.5])
@pytest.mark.parametrize('temperature', [0.2, 0.5])
def test_debiased_equals_the_definition(agree, draw, temperature, prior):
    agree(
        lambda a, b: L.debiased_nt_xent(a, b, temperature, prior),
        lambda a, b: naive_hard(a, b, temperature, prior, 0.0),
        *draw((5, 4), (5, 4)),
    )


@pytest.mark.parametrize('concentration', [0.5, 1.0, 2.0])
@pytest.mark.parametrize('prior', [0.0, 0.1, 0.5])
def test_hard_equals_the_definition(agree, draw, prior, concentration):
    agree(
        lambda a, b: L.hard_nt_xent(a, b, 0.5, prior, concentration),
        lambda a, b: naive_hard(a, b, 0.5, prior, concentration),
        *draw((5, 4), (5, 4)),
    )


def test_both_sides_of_the_lower_bound_are_tested(draw):
    """With prior 0.5 above some anchors lie on the bound and some do not."""
    z = torch.cat([unit(x) for x in draw((5, 4), (5, 4))])
    same_image = torch.eye(5, dtype=torch.bool).repeat(2, 2)
    lse = (z @ z.T / 0.5).masked_fill(same_image, -torch.inf).logsumexp(1)
    mass = debiased_log_mass(lse, (z * z.roll(5, 0)).sum(1) / 0.5, torch.full((10,), 8.0).double(), 0.5, 0.5)
    on_bound = torch.isclose(mass, torch.full_like(mass, math.log(8) - 2))
    assert 0 < on_bound.sum() < 10


def test_without_prior_and_concentration_it_is_nt_xent(draw):
    views = draw((6, 4), (6, 4))
    expected = L.nt_xent(*views, 0.3)
    torch.testing.assert_close(L.debiased_nt_xent(*views, 0.3, 0.0), expected, rtol=0, atol=0)
    torch.testing.assert_close(L.hard_nt_xent(*views, 0.3, 0.0, 0.0), expected, rtol=0, atol=0)
    torch.testing.assert_close(L.hard_nt_xent(*views, 0.3, 0.0, 1e-9), expected, rtol=0, atol=1e-7)


def test_without_concentration_hard_is_debiased(draw):
    views = draw((6, 4), (6, 4))
    torch.testing.assert_close(
        L.hard_nt_xent(*views, 0.3, 0.1, 0.0), L.debiased_nt_xent(*views, 0.3, 0.1), rtol=0, atol=0
    )


def test_log_mass_is_the_logarithm_of_the_definition():
    neg = torch.tensor([3.0, 10.0, 0.5, 4.0], dtype=torch.float64)
    pos = torch.tensor([1.0, 2.0, 7.0, 5.0], dtype=torch.float64)
    n = torch.tensor([4.0, 6.0, 8.0, 5.0], dtype=torch.float64)
    want = torch.maximum((neg - 0.1 * n * pos) / 0.9, n * math.exp(-2.0)).log()
    got = debiased_log_mass(neg.log(), pos.log(), n, 0.5, 0.1)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)


def test_log_mass_does_not_overflow():
    lse = torch.tensor([1e4, -1e4], requires_grad=True)
    mass = debiased_log_mass(lse, torch.tensor([9e3, 1e4]), torch.tensor([1e2, 1e2]), 1e-4, 0.1)
    mass.sum().backward()
    torch.testing.assert_close(mass, torch.tensor([1e4 - math.log(0.9), math.log(100) - 1e4]))
    assert lse.grad.tolist() == [1, 0]


def test_log_mass_of_no_negatives_is_minus_infinity():
    lse = torch.tensor([-math.inf], requires_grad=True)
    mass = debiased_log_mass(lse, torch.tensor([1.0]), torch.zeros(1), 0.5, 0.1)
    contrastive_terms(torch.tensor([1.0]), mass).sum().backward()
    assert mass.item() == -math.inf
    assert lse.grad.item() == 0


@pytest.mark.parametrize('prior', [-0.1, 1.0])
def test_an_impossible_prior_is_refused(draw, prior):
    with pytest.raises(ValueError, match=rf'\[0, 1\), got {prior}'):
        L.debiased_nt_xent(*draw((3, 4), (3, 4)), 0.5, prior)


@pytest.mark.parametrize(
    'loss',
    [
        lambda a, b: L.decoupled(a, b, 0.1, 0.5),
        lambda a, b: L.debiased_nt_xent(a, b, 0.5, 0.1),
        lambda a, b: L.hard_nt_xent(a, b, 0.5, 0.1, 1.0),
    ],
)
def test_one_image_without_negatives_gives_zero(draw, loss):
    view1, view2 = (x.requires_grad_() for x in draw((1, 4), (1, 4)))
    value = loss(view1, view2)
    value.backward()
    assert value.item() == 0
    assert view1.grad.abs().sum() == 0
