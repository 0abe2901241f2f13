"""Sums of objectives."""

import pytest
import torch

from densecl.models.losses import Cosine, Sum
from densecl.models.losses.functional import nt_xent
from densecl.structures import Batch, Comparison, Units

ANCHORS = dict(type='densecl.PrototypeAlignment', classes=3, dim=6)
COSINE = dict(type='densecl.Cosine')
BANK = dict(type='densecl.NCE', images=9, dim=6, form='softmax')


def comparison(rows=5):
    batch = Batch(torch.arange(rows), indices=torch.arange(rows), labels=torch.tensor([0, 2, -1, 1, 2]))
    return Comparison.of_rows(*torch.randn(2, rows, 6, dtype=torch.float64).unbind(), batch=batch)


def test_the_sum_and_what_it_logs():
    objective = Sum(objectives=[COSINE, BANK, ANCHORS], weights=[1.0, 0.25, 0.5]).double()
    given = comparison()
    loss, found = objective.score(given)
    values = [part.score(given)[0] for part in objective.objectives]
    torch.testing.assert_close(loss, values[0] + 0.25 * values[1] + 0.5 * values[2], rtol=0, atol=1e-12)
    assert set(found) == {'Cosine', 'NCE', 'PrototypeAlignment', 'pos_sim', 'anchor_sim'}
    torch.testing.assert_close(found['PrototypeAlignment'], values[2].detach())
    torch.testing.assert_close(found['pos_sim'], Cosine().score(given)[1]['pos_sim'])  # the first keeps it


def test_clop_is_a_sum():
    contrast = dict(type='densecl.InfoNCE', temperature=0.3, queue=0, batch='views')
    objective = Sum(objectives=[contrast, ANCHORS], weights=[1.0, 0.5]).double()
    a, b = torch.randn(2, 5, 6, dtype=torch.float64)
    batch = comparison().batch
    pairs = [Comparison.of_rows(x, y, batch=batch) for x, y in ((a, b), (b, a))]
    for c in pairs:
        c.query.pooled, c.key.pooled = c.query.vectors[:, 0], c.key.vectors[:, 0]
    loss = sum(objective.score(c)[0] for c in pairs) / 2
    alignment = sum(objective.objectives[1].score(c)[0] for c in pairs) / 2
    torch.testing.assert_close(loss, nt_xent(a, b, 0.3) + 0.5 * alignment, rtol=0, atol=1e-12)


def test_parts_remember():
    objective = Sum(objectives=[COSINE, BANK]).double()
    bank, keys = objective.objectives[1].bank.vectors, torch.randn(5, 6, dtype=torch.float64)
    before = bank.clone()
    objective.remember([Units(keys[:, None], pooled=keys)], comparison().batch)
    assert not torch.isclose(bank[:5], before[:5]).all(1).any() and torch.equal(bank[5:], before[5:])


def test_what_the_parts_need():
    assert Sum(objectives=[COSINE, ANCHORS]).needs == {'one answer'}
    classes = dict(type='densecl.LabelCrossEntropy')
    assert not Sum(objectives=[classes]).needs_keys and Sum(objectives=[classes, COSINE]).needs_keys
    assert Sum(objectives=[COSINE]).watched_queue is None


def test_the_sum_shows_its_queue():
    parts = [COSINE, dict(type='densecl.InfoNCE', queue=8, dim=6)]
    objective = Sum(objectives=parts)
    assert objective.weights == [1.0, 1.0]
    assert objective.watched_queue is objective.objectives[1].queue and len(objective.watched_queue) == 8
    with pytest.raises(ValueError, match='got 1 weights for 2 objectives'):
        Sum(objectives=parts, weights=[1.0])
