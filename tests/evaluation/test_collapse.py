"""Collapse figures on inputs whose answer is known."""

import math

import pytest
import torch

from densecl.evaluation import (
    alignment,
    effective_rank,
    embedding_statistics,
    embedding_std,
    uniformity,
)


def test_constant_embeddings():
    z = torch.ones(50, 8)
    assert embedding_std(z) == pytest.approx(0, abs=1e-6)
    assert effective_rank(z) == pytest.approx(1, abs=1e-3)
    assert embedding_statistics(z)['neg_sim'] == pytest.approx(1)


def test_a_single_direction_with_both_signs_has_rank_one():
    z = torch.randn(50, 1) * torch.randn(1, 8)
    assert effective_rank(z) == pytest.approx(1, abs=1e-3)


def test_isotropic_embeddings_fill_the_space():
    z = torch.randn(20000, 16)
    assert embedding_std(z) == pytest.approx(1, abs=0.01)
    assert effective_rank(z) == pytest.approx(16, abs=0.05)
    assert embedding_statistics(z)['neg_sim'] == pytest.approx(0, abs=0.01)


def test_effective_rank_of_known_singular_values():
    z = torch.eye(4)[[0, 0, 1, 2]]  # singular values sqrt(2), 1, 1
    p = torch.tensor([2**0.5, 1, 1]) / (2**0.5 + 2)
    assert effective_rank(z) == pytest.approx(math.exp(-(p * p.log()).sum().item()), abs=1e-5)


def test_alignment_and_uniformity_by_hand():
    x = torch.tensor([[1.0, 0], [0, 2]])
    y = torch.tensor([[0.0, 3], [0, 1]])
    assert alignment(x, y) == pytest.approx((2 + 0) / 2)
    # three points: distances squared 2, 4, 2
    z = torch.tensor([[1.0, 0], [0, 1], [-1, 0]])
    want = math.log((2 * math.exp(-4) + math.exp(-8)) / 3)
    assert uniformity(z) == pytest.approx(want, abs=1e-5)


def test_statistics_are_those_functions():
    z = torch.randn(30, 8)
    values = embedding_statistics(z)
    unit = torch.nn.functional.normalize(z, dim=1)
    cosine = unit @ unit.T
    off = (cosine.sum() - cosine.trace()) / (30 * 29)
    assert values['std'] == pytest.approx(embedding_std(z).item(), abs=1e-5)
    assert values['rank'] == pytest.approx(effective_rank(z).item(), abs=1e-3)
    assert values['neg_sim'] == pytest.approx(off.item(), abs=1e-5)
