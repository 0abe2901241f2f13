"""Regression of standardised features against loops, in float64."""

import pytest
import torch

from densecl.models.losses import Regression
from densecl.models.losses.regression import standardised
from densecl.structures import Comparison


def loops(query, key, valid):
    rows = key[valid]
    total = 0.0
    for d in range(key.shape[2]):
        mean = sum(rows[:, d].tolist()) / len(rows)
        variance = sum((x - mean) ** 2 for x in rows[:, d].tolist()) / len(rows)
        pairs = zip(query[valid][:, d].tolist(), rows[:, d].tolist(), strict=True)
        total += sum((q - k) ** 2 for q, k in pairs) / (variance + 1e-6)
    return total / (len(rows) * key.shape[2])


@pytest.fixture
def sides():
    generator = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64).unbind()
    return query, key * torch.tensor([1.0, 10, 0.1, 3, 1]) + 2


def compared(query, key, valid=None):
    comparison = Comparison.of_sets(query, key)
    comparison.match.valid = valid
    return comparison


@pytest.mark.parametrize('some', [False, True])
def test_value(sides, some):
    valid = torch.ones(3, 4, dtype=torch.bool)
    valid[1] = not some
    loss, _ = Regression().score(compared(*sides, valid))
    assert loss.item() == pytest.approx(loops(*sides, valid), rel=1e-9)


def test_every_channel_counts_alike_and_the_mean_scores_one(sides):
    _, key = sides
    mean = key.flatten(0, 1).mean(0).expand_as(key)
    loss, _ = Regression().score(compared(mean, key))
    assert loss.item() == pytest.approx(1, abs=1e-4)  # the variance of the smallest channel is 0.01
    query, answers = standardised(key, key, torch.ones(3, 4, dtype=torch.bool))
    torch.testing.assert_close(query, answers)
    spread = answers.flatten(0, 1).square().mean(0)
    torch.testing.assert_close(spread, torch.ones(5).double(), rtol=1e-3, atol=0)


def test_gradient_reaches_the_query_alone(sides):
    query, key = (x.requires_grad_() for x in sides)
    loss, _ = Regression().score(compared(query, key))
    loss.backward()
    assert key.grad is None and query.grad.isfinite().all() and query.grad.any()
    assert torch.autograd.gradcheck(lambda q: Regression().score(compared(q, key.detach()))[0], query)


def test_no_units_and_a_constant_channel_in_half_precision(sides):
    query, key = (x.bfloat16() for x in sides)
    key[..., 0] = 1.0
    query.requires_grad_()
    for valid in (None, torch.zeros(3, 4, dtype=torch.bool)):
        loss, _ = Regression().score(compared(query, key, valid))
        (gradient,) = torch.autograd.grad(loss, query)
        assert loss.dtype == torch.float32 and loss.isfinite() and gradient.isfinite().all()
        assert valid is None or loss == 0


def test_channels_far_from_zero_in_float32(sides):
    _, key = sides
    key = (100 + 0.05 * key / key.flatten(0, 1).std(0)).float()
    mean = key.double().flatten(0, 1).mean(0).expand_as(key).float()
    loss, _ = Regression().score(compared(mean, key))
    assert loss.item() == pytest.approx(1, abs=0.01)
