"""Sinkhorn, swapped prediction and self-distillation against their definitions."""

import math

import pytest
import torch

from densecl.models.losses import functional as L
from densecl.numerics import unit


def naive_sinkhorn(scores, epsilon, iterations):
    """As SwAV's code does it: prototypes in rows, samples in columns; the columns' step comes last."""
    q = torch.exp(scores / epsilon).T
    q = q / q.sum()
    prototypes, samples = q.shape
    for _ in range(iterations):
        for k in range(prototypes):
            q[k] = q[k] / q[k].sum() / prototypes
        for b in range(samples):
            q[:, b] = q[:, b] / q[:, b].sum() / samples
    return (q * samples).T


def cosines(draw, samples, prototypes, seed=0):
    x, c = draw((samples, 8), (prototypes, 8), seed=seed)
    return unit(x) @ unit(c).T


@pytest.mark.parametrize('iterations', [1, 3, 20])
@pytest.mark.parametrize('epsilon', [0.03, 0.05, 1.0])
def test_sinkhorn_equals_the_definition(draw, epsilon, iterations):
    scores = cosines(draw, 6, 5)
    got = L.sinkhorn(scores, epsilon, iterations)
    torch.testing.assert_close(got, naive_sinkhorn(scores, epsilon, iterations), rtol=0, atol=1e-9)


def test_sinkhorn_rows_sum_to_one_and_many_steps_even_out_the_columns(draw):
    scores = cosines(draw, 12, 4)
    torch.testing.assert_close(L.sinkhorn(scores, 0.05, 1).sum(1), torch.ones(12).double())
    codes = L.sinkhorn(scores, 0.05, 1000)
    torch.testing.assert_close(codes.sum(0), torch.full((4,), 3.0).double(), rtol=0, atol=1e-6)


@pytest.mark.parametrize('dtype', [torch.float16, torch.float32])
def test_sinkhorn_neither_overflows_nor_leaves_a_prototype_empty(draw, dtype):
    scores = (1000 * cosines(draw, 6, 5)).to(dtype)
    scores[:, 0] = -1000
    codes = L.sinkhorn(scores, 0.01, 3)
    assert codes.dtype == torch.float32
    assert torch.isfinite(codes).all()
    torch.testing.assert_close(codes.sum(1), torch.ones(6))


def test_sinkhorn_has_no_gradient_and_leaves_its_input_alone(draw):
    scores = cosines(draw, 6, 5).requires_grad_()
    before = scores.detach().clone()
    assert not L.sinkhorn(scores, 0.05, 3).requires_grad
    assert torch.equal(scores, before)


def test_sinkhorn_needs_an_iteration(draw):
    with pytest.raises(ValueError, match='at least 1, got 0'):
        L.sinkhorn(cosines(draw, 6, 5), 0.05, 0)


@pytest.mark.parametrize('temperature', [0.1, 1.0])
def test_swapped_prediction_equals_the_definition(agree, draw, temperature):
    scores = [cosines(draw, 6, 5, seed) for seed in (1, 2)]
    codes = [L.sinkhorn(x, 0.05, 3) for x in scores]

    def naive(scores1, scores2):
        total = 0.0
        for s, q in ((scores1, codes[1]), (scores2, codes[0])):
            for row, code in zip(s, q, strict=True):
                below = sum(torch.exp(x / temperature) for x in row)
                for x, c in zip(row, code, strict=True):
                    total = total - c * torch.log(torch.exp(x / temperature) / below)
        return total / 6 / 2

    agree(lambda a, b: L.swapped_prediction(a, b, *codes, temperature), naive, *scores)


def test_uniform_scores_give_the_logarithm_of_the_prototypes():
    """What a collapsed SwAV shows: ln 3000 = 8.006."""
    scores, codes = torch.zeros(4, 3000), torch.zeros(4, 3000)
    codes[:, 7] = 1
    loss = L.swapped_prediction(scores, scores, codes, codes, 0.1)
    assert loss.item() == pytest.approx(math.log(3000), abs=1e-5)


def naive_self_distillation(student, teacher, center, student_t, teacher_t):
    terms = []
    for i, t in enumerate(teacher):
        for v, s in enumerate(student):
            if i == v:
                continue
            for trow, srow in zip(t.detach(), s, strict=True):
                shifted = torch.exp((trow - center) / teacher_t)
                log_p = srow / student_t - torch.log(torch.exp(srow / student_t).sum())
                terms.append(-(shifted / shifted.sum() * log_p).sum())
    return sum(terms) / len(terms)


@pytest.mark.parametrize(('crops', 'teachers'), [(2, 2), (5, 2), (3, 1)])
def test_self_distillation_equals_the_definition(agree, draw, crops, teachers):
    *teacher, center = draw(*[(4, 6)] * teachers, (6,), seed=1)
    agree(
        lambda *s: L.self_distillation(s, teacher, center, 0.5, 0.2),
        lambda *s: naive_self_distillation(s, teacher, center, 0.5, 0.2),
        *draw(*[(4, 6)] * crops),
    )


def test_self_distillation_gives_the_teacher_no_gradient(draw):
    student = [x.requires_grad_() for x in draw((4, 6), (4, 6))]
    teacher = [x.requires_grad_() for x in draw((4, 6), (4, 6), seed=1)]
    L.self_distillation(student, teacher, torch.zeros(1, 6), 0.1, 0.04).backward()
    assert all(x.grad is None for x in teacher)
    assert all((x.grad != 0).any() for x in student)


def test_self_distillation_needs_a_pair(draw):
    crops = draw((4, 6))
    with pytest.raises(ValueError, match='1 student and 1 teacher'):
        L.self_distillation(crops, crops, torch.zeros(6), 0.1, 0.04)


def test_extreme_temperatures_stay_finite(draw):
    student, teacher = draw((4, 6), (4, 6)), draw((4, 6), (4, 6), seed=1)
    student = [x.float().requires_grad_() for x in student]
    loss = L.self_distillation(student, [x.float() for x in teacher], torch.zeros(6), 1e-4, 1e-4)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(x.grad).all() for x in student)
