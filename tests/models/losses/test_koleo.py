"""KoLeo against a loop over vectors; equal vectors, few of them, groups, and the head that has it."""

import math

import pytest
import torch
from oracles import self_distilled as by_hand

from densecl.models.losses import KoLeo
from densecl.models.losses import functional as L
from densecl.structures import Batch, Comparison, Match, Units
from tests.models.heads.made import Fixed, build, make_views, maps


def rows(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def score(objective, units):
    batch = Batch(torch.arange(len(units.vectors)))
    return objective.score(Comparison(units, None, Match(), batch))[0]


def grads(loss, x):
    return torch.autograd.grad(loss, x)[0]


@pytest.mark.parametrize('shape', [(2, 3), (7, 4), (12, 1), (9, 16)])
def test_value_and_gradient_are_those_of_a_loop(shape):
    x = rows(*shape).requires_grad_()
    got, want = L.koleo(x), by_hand.koleo(x)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-9)
    if shape[1] > 1:  # on a line all are -1 or 1: equal vectors, below
        torch.testing.assert_close(grads(got, x), grads(want, x), rtol=0, atol=1e-9)
        assert torch.autograd.gradcheck(L.koleo, x)


def test_the_nearest_of_opposite_vectors_is_the_other_one():
    """Their cosine, -1, is what the diagonal of official code is filled with."""
    x = torch.tensor([[1.0, 0], [-1.0, 0]], dtype=torch.float64)
    assert L.koleo(x).item() == pytest.approx(-math.log(2), abs=1e-7)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_equal_and_zero_vectors_have_finite_gradients(dtype):
    x = rows(6, 4)
    x[1] = x[0]
    x[2] = 2 * x[0]  # the same direction, up to rounding
    x[3] = 0
    x = x.to(dtype).requires_grad_()
    with torch.autocast('cpu', torch.bfloat16):
        loss = L.koleo(x)
    want = by_hand.koleo(x.detach().double())
    tolerance = 1e-9 if dtype == torch.float64 else 0.5  # distances of equal vectors are rounding
    assert loss.dtype == torch.promote_types(dtype, torch.float32)
    assert loss.item() == pytest.approx(want.item(), abs=tolerance) and loss > 8
    found = grads(loss, x)
    assert found.isfinite().all() and found.abs().max() < 100
    assert (found[3] == 0).all() and (found[4:] != 0).any()
    alike = x.detach()[:1].expand(5, -1).clone().requires_grad_()
    assert (grads(L.koleo(alike), alike) == 0).all()


def test_what_twins_pull_from_each_other_cancels_in_the_formula_too():
    x = rows(6, 4)
    x[4] = x[1]
    x.requires_grad_()
    torch.testing.assert_close(grads(L.koleo(x), x), grads(by_hand.koleo(x), x), rtol=0, atol=1e-7)


def test_autocast_changes_nothing():
    x = rows(6, 4).float().requires_grad_()
    want = L.koleo(x)
    with torch.autocast('cpu', torch.bfloat16):
        got = L.koleo(x)
    assert torch.equal(got, want) and torch.equal(grads(got, x), grads(want, x))


@pytest.mark.parametrize('count', [0, 1])
def test_without_another_vector_it_is_zero(count):
    x = rows(count, 4).half().requires_grad_()
    loss = L.koleo(x)
    assert loss.item() == 0 and loss.dtype == torch.float32
    assert (grads(loss, x) == 0).all()


def test_the_objective_takes_what_stands_for_an_image():
    vectors, pooled, predicted = rows(5, 3, 4), rows(5, 4, seed=1), rows(5, 4, seed=2)
    assert score(KoLeo(), Units(vectors, pooled=pooled)) == L.koleo(pooled)
    assert score(KoLeo(), Units(vectors[:, :1])) == L.koleo(vectors[:, 0])
    units = Units(vectors, predicted=vectors, pooled=pooled, pooled_predicted=predicted)
    assert score(KoLeo(), units) == L.koleo(predicted)


def test_groups_are_searched_apart():
    x = rows(8, 4)
    got = score(KoLeo(group=4), Units(x[:, None], pooled=x))
    want = (by_hand.koleo(x[:4]) + by_hand.koleo(x[4:])) / 2
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match='group=3 does not divide the 8 images of a process'):
        score(KoLeo(group=3), Units(x[:, None], pooled=x))
    with pytest.raises(ValueError, match='group must be 2 images or more, or None; got 1'):
        KoLeo(group=1)


@pytest.mark.parametrize('momentum', [False, True])
def test_a_head_of_views_with_themselves(momentum):
    """Both crops' values add up with weight 0.1 each (DINOv2); no view is a key."""
    head = build('densecl.Image', 'densecl.KoLeo', 'densecl.SameRow', pairs=((0, 0), (1, 1)), loss_weight=0.2)
    assert head.needed(2) == {'online': {0, 1}, 'target': set()}
    levels, views = [x.requires_grad_() for x in maps()], make_views()
    online = Fixed(*levels)
    target = Fixed(*levels, gradient=False) if momentum else online
    result = head.loss(online, target, views, Batch.of(views), head.projector)
    want = sum(by_hand.koleo(x.mean((2, 3))) for x in levels)
    torch.testing.assert_close(head.weight(0) * result.loss, 0.1 * want, rtol=0, atol=1e-9)
    assert result.keys == {} and all(g.any() for g in torch.autograd.grad(result.loss, levels))
