"""InfoNCE against its definition in float64."""

import math

import pytest
import torch

from densecl.models.losses import functional as L
from densecl.models.losses import kernel
from densecl.models.losses.candidates import Candidates
from densecl.models.losses.functional import plain_objective
from densecl.numerics import unit
from densecl.structures import Comparison


def naive_info_nce(query, positive, negatives, temperature):
    """The definition, one query at a time, in Python floats."""
    total = 0.0
    for q, p in zip(query, positive, strict=True):
        logits = [torch.dot(q / q.norm(), p / p.norm()) / temperature]
        logits += [torch.dot(q / q.norm(), n / n.norm()) / temperature for n in negatives]
        total = total - torch.log(torch.exp(logits[0]) / sum(torch.exp(x) for x in logits))
    return total / len(query)


def inputs(n=5, k=7, c=4, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(size, c, dtype=torch.float64, generator=generator).to(dtype).requires_grad_()
        for size in (n, n, k)
    ]


@pytest.mark.parametrize('temperature', [0.07, 0.2, 1.0])
@pytest.mark.parametrize('tile', [1, 3, 2048])
def test_value_and_gradients_equal_the_definition(monkeypatch, temperature, tile):
    monkeypatch.setitem(kernel.TILE, 'cpu', tile)
    got = inputs()
    want = [x.detach().clone().requires_grad_() for x in got]
    loss = L.info_nce(*got, temperature)
    reference = naive_info_nce(*want, temperature)
    torch.testing.assert_close(loss, reference, rtol=0, atol=1e-9)
    loss.backward()
    reference.backward()
    for mine, theirs in zip(got, want, strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=0, atol=1e-9)


def test_gradcheck():
    assert torch.autograd.gradcheck(lambda q, p, n: L.info_nce(q, p, n, 0.2), inputs())


def test_gradient_without_gradient_for_the_negatives():
    query, positive, negatives = inputs()
    L.info_nce(query, positive, negatives.detach(), 0.2).backward()
    reference = [x.detach().clone().requires_grad_() for x in (query, positive, negatives)]
    naive_info_nce(*reference, 0.2).backward()
    torch.testing.assert_close(query.grad, reference[0].grad, rtol=0, atol=1e-9)
    assert negatives.grad is None


def test_negatives_may_be_overwritten_before_backward():
    query, positive, negatives = (x.detach() for x in inputs())
    query.requires_grad_()
    keys = unit(negatives)
    loss = plain_objective(0.2).terms(Comparison.of_rows(query, positive), Candidates(keys))[0].mean()
    before = torch.autograd.grad(loss, query, retain_graph=True)[0]
    keys.zero_()
    torch.testing.assert_close(torch.autograd.grad(loss, query)[0], before, rtol=0, atol=0)


def test_orthogonal_vectors_have_a_closed_form():
    eye = torch.eye(4, dtype=torch.float64)
    loss = L.info_nce(eye[:1], eye[:1], eye[1:], 0.5)
    assert loss.item() == pytest.approx(math.log(1 + 3 * math.exp(-2)), abs=1e-12)


def test_scale_of_the_inputs_does_not_matter():
    query, positive, negatives = (x.detach() for x in inputs())
    torch.testing.assert_close(
        L.info_nce(3 * query, 0.1 * positive, 7 * negatives, 0.2),
        L.info_nce(query, positive, negatives, 0.2),
    )


def test_tiny_temperature_neither_overflows_nor_underflows():
    query, positive, negatives = (x.detach().float().requires_grad_() for x in inputs())
    loss = L.info_nce(query, positive, negatives, 1e-3)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(query.grad).all()
    reference = naive_info_nce(*(x.double() for x in (query, positive, negatives)), 1e-3)
    if torch.isfinite(reference):
        torch.testing.assert_close(loss.double(), reference, rtol=1e-4, atol=1e-4)


def test_no_negatives_give_zero():
    query, positive, negatives = inputs()
    loss = L.info_nce(query, positive, negatives[:0], 0.2)
    loss.backward()
    assert loss.item() == 0
    assert query.grad.abs().sum() == 0


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    half = [x.detach() for x in inputs(dtype=dtype)]
    loss = L.info_nce(*half, 0.07)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, L.info_nce(*(x.float() for x in half), 0.07), rtol=1e-6, atol=1e-6)


def test_autocast_does_not_reach_the_similarities():
    query, positive, negatives = (x.detach().float() for x in inputs())
    outside = L.info_nce(query, positive, negatives, 0.07)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        inside = L.info_nce(query, positive, negatives, 0.07)
    torch.testing.assert_close(inside, outside, rtol=0, atol=0)


def test_a_learned_temperature_gets_its_gradient():
    query, positive, negatives = (x.detach() for x in inputs())
    temperature = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: L.info_nce(query, positive, negatives, t), temperature)


def test_diagnostics_tell_cosine_and_wins():
    query, positive, negatives = (x.detach() for x in inputs())
    objective = plain_objective(0.2)
    found = objective.terms(Comparison.of_rows(query, positive), Candidates(unit(negatives)))[2]
    expected = torch.nn.functional.cosine_similarity(query, positive)
    torch.testing.assert_close(found['pos_sim'], expected.mean())
    hardest = (unit(query) @ unit(negatives).T).max(1).values
    assert found['top1'] == (expected > hardest).float().mean() and 0 < found['top1'] < 1
