"""Collapse figures on inputs whose answer is known."""

import math

import numpy as np
import pytest
import torch

from densecl.evaluation import alignment, embedding_statistics, embedding_std, rank_me, uniformity


def entropy_rank(singular: list[float], extra: float) -> float:
    p = [s / sum(singular) + extra for s in singular]
    return math.exp(-sum(x * math.log(x) for x in p if x > 0))


def test_constant_embeddings():
    z = torch.ones(50, 8)
    assert embedding_std(z) == pytest.approx(0, abs=1e-6)
    assert embedding_statistics(z)['rank'] == pytest.approx(1, abs=1e-3)
    assert rank_me(z) == pytest.approx(1, abs=1e-3)
    assert embedding_statistics(z)['neg_sim'] == pytest.approx(1)


def test_a_single_direction_with_both_signs_has_rank_one():
    z = torch.randn(50, 1) * torch.randn(1, 8)
    assert embedding_statistics(z)['rank'] == pytest.approx(1, abs=1e-3)
    assert rank_me(z) == pytest.approx(1, abs=1e-3)
    assert embedding_std(z) < 1 / 8**0.5  # less than a full sphere of 8 channels


@pytest.mark.parametrize('channels', [16, 64])
def test_isotropic_embeddings_fill_the_space(channels):
    z = torch.randn(20000, channels)
    assert embedding_std(z) == pytest.approx(channels**-0.5, rel=0.01)
    assert embedding_statistics(z[:4000])['rank'] == pytest.approx(channels, rel=0.02)
    assert rank_me(z) == pytest.approx(channels, rel=0.005)
    assert embedding_statistics(z[:2000])['std'] == pytest.approx(1, abs=0.01)
    assert embedding_statistics(z[:2000])['neg_sim'] == pytest.approx(0, abs=0.01)


def test_std_against_loops():
    z = torch.randn(7, 5, dtype=torch.float64) * torch.rand(7, 1, dtype=torch.float64)
    rows = [[v / math.sqrt(sum(x * x for x in row)) for v in row] for row in z.tolist()]
    stds = []
    for column in zip(*rows, strict=True):
        mean = sum(column) / 7
        stds.append(math.sqrt(sum((v - mean) ** 2 for v in column) / 7))
    assert embedding_std(z).item() == pytest.approx(sum(stds) / 5, abs=1e-12)


@pytest.mark.parametrize('scale', [1, 1e-3, 1e4])
def test_ranks_of_known_singular_values(scale):
    """Rows keep their lengths; only the whole matrix's scale does not matter."""
    singular = [5.0, 2.0, 1.0, 0.0]
    left = torch.linalg.qr(torch.randn(9, 4, dtype=torch.float64))[0]
    right = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))[0]
    z = scale * left @ torch.diag(torch.tensor(singular, dtype=torch.float64)) @ right
    assert rank_me(z).item() == pytest.approx(entropy_rank(singular, 1e-7), abs=1e-9)
    assert rank_me(z) > entropy_rank(singular, 0)


def test_zeros_are_no_error():
    assert embedding_statistics(torch.zeros(4, 3))['rank'] == 1
    assert rank_me(torch.zeros(4, 3)).isfinite()


def test_alignment_and_uniformity_by_hand():
    x = torch.tensor([[1.0, 0], [0, 2]])
    y = torch.tensor([[0.0, 3], [0, 1]])
    assert alignment(x, y) == pytest.approx((2 + 0) / 2)
    # three points: distances squared 2, 4, 2
    z = torch.tensor([[1.0, 0], [0, 1], [-1, 0]])
    for t in (2.0, 0.5):
        want = math.log((2 * math.exp(-2 * t) + math.exp(-4 * t)) / 3)
        assert uniformity(z, t) == pytest.approx(want, abs=1e-5)


@pytest.mark.parametrize('function', [embedding_std, rank_me, uniformity])
def test_precision(function):
    z = torch.randn(20, 6)
    assert function(z.double()).dtype == torch.float64
    assert function(z).dtype == torch.float32
    assert function(z.bfloat16()).dtype == torch.float32
    assert function(z).item() == pytest.approx(function(z.double()).item(), rel=1e-4)


def test_statistics_are_of_unit_embeddings():
    z = torch.randn(30, 8) * torch.rand(30, 1)
    values = embedding_statistics(z)
    unit = torch.nn.functional.normalize(z, dim=1)
    cosine = unit @ unit.T
    off = (cosine.sum() - cosine.trace()) / (30 * 29)
    assert values['std'] == pytest.approx(embedding_std(z).item() * 8**0.5, abs=1e-5)
    singular = torch.linalg.svdvals(unit.double()).tolist()
    assert values['rank'] == pytest.approx(entropy_rank(singular, 0), abs=1e-3)
    assert values['neg_sim'] == pytest.approx(off.item(), abs=1e-5)
    assert values['uniformity'] == pytest.approx(uniformity(z).item(), abs=1e-5)
    shares = np.linalg.eigvalsh(cosine.double().numpy() / 30)
    vendi = math.exp(-sum(x * math.log(x) for x in shares.tolist() if x > 0))
    assert values['vendi'] == pytest.approx(vendi, rel=1e-5)


def test_vendi_counts_different_embeddings():
    assert embedding_statistics(torch.eye(8)[:5].repeat(4, 1))['vendi'] == pytest.approx(5)
    assert embedding_statistics(torch.ones(20, 8))['vendi'] == pytest.approx(1)
