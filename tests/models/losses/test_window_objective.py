"""ReSim's objective against a form that writes out every logit."""

import math

import pytest
import torch

from densecl.models.losses import WindowInfoNCE
from densecl.schedule import Clock


def draw(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def written_out(query, positive, places, counted, apart, t):
    """One window after the other: all negatives in a list."""
    rows = []
    q, k, p = (x / x.norm(dim=-1, keepdim=True) for x in (query, positive, places))
    for b in range(len(q)):
        for w in range(q.shape[1]):
            if not counted[b, w]:
                continue
            good = (q[b, w] @ k[b, w] / t).exp()
            bad = 0
            for c in range(len(p)):
                for i in range(p.shape[1]):
                    if c != b or apart is None or apart[b, w, i]:
                        bad = bad + (q[b, w] @ p[c, i] / t).exp()
            rows.append(-(good / (good + bad)).log())
    return torch.stack(rows).mean()


@pytest.mark.parametrize('everything', [False, True])
def test_value_and_gradients(everything):
    torch.manual_seed(0)
    tensors = [draw(3, 4, 6), draw(3, 4, 6), draw(3, 5, 6)]
    tensors = [x.requires_grad_() for x in tensors]
    counted = torch.rand(3, 4) < 0.6
    apart = None if everything else torch.rand(3, 4, 5) < 0.5
    loss, found = WindowInfoNCE(0.3)(*tensors, counted, apart)
    want = written_out(*tensors, counted, apart, 0.3)
    torch.testing.assert_close(loss, want, rtol=1e-12, atol=0)
    for got, expected in zip(
        torch.autograd.grad(loss, tensors), torch.autograd.grad(want, tensors), strict=True
    ):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
    assert found['inside'] == counted.float().mean()
    cosine = torch.cosine_similarity(tensors[0], tensors[1], -1)
    torch.testing.assert_close(found['pos_sim'], cosine[counted].mean().detach())


def test_diagnostics_count_who_beats_all_negatives():
    """Windows of three images; the negative of the third is nearer than its positive."""
    query = torch.eye(3, dtype=torch.float64)[:, None]
    positive = query.clone()
    positive[2, 0] = torch.tensor([0.0, 0.9, 1.0])
    places = torch.tensor([[[0.0, 0, 1]], [[0, 0, 1]], [[1, 0, 0]]], dtype=torch.float64)
    apart = torch.zeros(3, 1, 1, dtype=torch.bool)
    _, found = WindowInfoNCE(1.0)(query, positive, places, torch.ones(3, 1, dtype=torch.bool), apart)
    # Image 0 meets place 2 (its own direction): a tie is no win.
    assert found['top1'] == pytest.approx(1 / 3)


def test_windows_that_do_not_count_have_no_gradient():
    query, key, places = draw(2, 3, 4).requires_grad_(), draw(2, 3, 4), draw(2, 2, 4)
    counted = torch.tensor([[True, False, True], [False, False, True]])
    loss, _ = WindowInfoNCE()(query, key, places, counted)
    loss.backward()
    assert (query.grad[~counted] == 0).all() and (query.grad[counted] != 0).any(-1).all()


def test_nothing_counts_and_nothing_to_contrast():
    """No window: 0. A window alone in the world: 0 as well, and gradients are never NaN."""
    query = draw(1, 2, 4).requires_grad_()
    none = torch.zeros(1, 2, dtype=torch.bool)
    for counted, apart in ((none, None), (~none, torch.zeros(1, 2, 3, dtype=torch.bool))):
        loss, found = WindowInfoNCE()(query, draw(1, 2, 4), draw(1, 3, 4), counted, apart)
        assert loss.abs() < 1e-15
        (gradient,) = torch.autograd.grad(loss, query)
        assert gradient.abs().max() < 1e-12
        assert all(math.isfinite(value) for value in found.values())


def test_half_precision_is_computed_in_float32():
    torch.manual_seed(1)
    query, key, places = (torch.randn(2, 3, 8).bfloat16() for _ in 'abc')
    counted = torch.ones(2, 3, dtype=torch.bool)
    with torch.autocast('cpu', torch.bfloat16):
        loss, _ = WindowInfoNCE()(query, key, places, counted)
    want, _ = WindowInfoNCE()(*(x.double() for x in (query, key, places)), counted)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), want, rtol=1e-5, atol=0)


def test_temperature_on_a_schedule():
    objective = WindowInfoNCE(dict(start=0.5, end=0.1))
    objective.temperature.clock = Clock(step=10, total=10, epoch=10)
    inputs = draw(2, 3, 4), draw(2, 3, 4), draw(2, 5, 4), torch.ones(2, 3, dtype=torch.bool)
    torch.testing.assert_close(objective(*inputs)[0], WindowInfoNCE(0.1)(*inputs)[0])
