"""The contrast of cells against naive float64 forms, one pair at a time."""

import math

import pytest
import torch
from torch.autograd import gradcheck

from densecl.models.losses.functional import info_nce, multi_positive_info_nce


def cosine(a, b):
    return float(a @ b / a.norm() / b.norm())


def maps(n=6, m=7, batch=4, channels=5):
    """Query and key cells (B, N, C), (B, M, C), and pairs: the first image has none, one query of the
    second neither, and the third image's cells are all positives of each other."""
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(batch, n, channels, generator=generator, dtype=torch.float64)
    keys = torch.randn(batch, m, channels, generator=generator, dtype=torch.float64)
    positives = torch.rand(batch, n, m, generator=generator) < 0.3
    positives[0], positives[1, 0], positives[2] = False, False, True
    return query, keys, positives


def naive_info_nce(query, keys, positives, t, negatives=None):
    losses = []
    for q, k, mask in zip(query, keys, positives, strict=True):
        for i in range(len(q)):
            near = sum(math.exp(cosine(q[i], k[j]) / t) for j in range(len(k)) if mask[i, j])
            others = negatives if negatives is not None else k[~mask[i]]
            far = sum(math.exp(cosine(q[i], other) / t) for other in others)
            if near:
                losses.append(-math.log(near / (near + far)))
    return sum(losses) / max(len(losses), 1)


@pytest.mark.parametrize('temperature', [0.05, 0.3, 1.0])
@pytest.mark.parametrize('queue', [False, True])
def test_info_nce_equals_the_loop(temperature, queue):
    query, keys, positives = maps()
    negatives = torch.randn(9, 5, dtype=torch.float64) if queue else None
    found = multi_positive_info_nce(query, keys, positives, temperature, negatives)
    expected = naive_info_nce(query, keys, positives, temperature, negatives)
    assert float(found) == pytest.approx(expected, rel=1e-11)
    one = multi_positive_info_nce(query[3], keys[3], positives[3], temperature, negatives)
    alone = naive_info_nce(query[3:], keys[3:], positives[3:], temperature, negatives)
    assert float(one) == pytest.approx(alone, rel=1e-11)


@pytest.mark.parametrize('queue', [False, True])
def test_gradients_of_info_nce(queue):
    query, keys, positives = maps(n=4, m=5)
    query, keys = query.requires_grad_(), keys.requires_grad_()
    inputs = [query, keys, torch.tensor(0.3, dtype=torch.float64, requires_grad=True)]
    if queue:
        inputs.append(torch.randn(6, 5, dtype=torch.float64, requires_grad=True))
    assert gradcheck(lambda q, k, t, n=None: multi_positive_info_nce(q, k, positives, t, n), inputs)


def test_one_positive_and_shared_negatives_is_info_nce():
    query, keys, _ = maps(n=7)
    negatives = torch.randn(9, 5, dtype=torch.float64)
    eye = torch.eye(7, dtype=torch.bool)
    found = multi_positive_info_nce(query[0], keys[0], eye, 0.2, negatives)
    torch.testing.assert_close(found, info_nce(query[0], keys[0], negatives, 0.2))


@pytest.mark.parametrize('queue', [False, True])
def test_without_any_positive_it_is_zero_with_zero_gradient(queue):
    query, keys, positives = (x.float() if x.is_floating_point() else x for x in maps())
    query.requires_grad_()
    negatives = torch.randn(9, 5) if queue else None
    loss = multi_positive_info_nce(query, keys, positives & False, 0.3, negatives)
    loss.backward()
    assert loss == 0 and torch.equal(query.grad, torch.zeros_like(query))


def test_a_row_of_positives_only_is_zero_with_finite_gradients():
    """No negative: nothing to tell apart; in float32, at a low temperature too."""
    query, keys, positives = (x.float() if x.is_floating_point() else x for x in maps())
    query.requires_grad_()
    loss = multi_positive_info_nce(query, keys, positives, 0.01)
    loss.backward()
    alone = [multi_positive_info_nce(query[i], keys[i], positives[i], 0.01) for i in range(4)]
    assert alone[0] == alone[2] == 0 and loss > 0
    assert query.grad.isfinite().all() and query.grad[2].abs().max() == 0
    assert query.grad[3].abs().max() > 0


def test_computed_in_float32_inside_autocast():
    query, keys, positives = maps()
    query, keys = query.bfloat16(), keys.bfloat16()
    expected = multi_positive_info_nce(query.float(), keys.float(), positives, 0.3)
    with torch.autocast('cpu', torch.bfloat16):
        assert multi_positive_info_nce(query, keys, positives, 0.3) == expected
