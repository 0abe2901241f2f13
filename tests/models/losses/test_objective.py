"""Sums of objectives; the three denominators of means, against loops."""

import pytest
import torch

from densecl.models.losses import Cosine, Sum
from densecl.models.losses.functional import nt_xent
from densecl.models.losses.objective import mean_of, own_mean
from densecl.schedule import Clock
from densecl.structures import Batch, Comparison, Units

VIEWS = dict(type='densecl.InfoNCE', queue=0, batch='views')
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


def test_what_the_parts_want_of_all_processes():
    queued = dict(type='densecl.InfoNCE', queue=4, dim=6)
    codes = dict(type='densecl.SwappedPrediction', queue=4, dim=6, queue_start=0)
    assert list(Sum(objectives=[COSINE, VIEWS, ANCHORS]).sends) == []
    assert list(Sum(objectives=[BANK, codes, VIEWS, queued]).sends) == ['pooled', 'embeddings', 'valid']
    late = Sum(objectives=[codes | dict(queue_start=2)])
    late.objectives[0].clock = Clock(step=1, epoch=1.0)
    assert list(late.sends) == []
    late.objectives[0].clock.step = 2
    assert list(late.sends) == ['embeddings', 'valid']


def test_what_the_parts_need():
    assert Sum(objectives=[COSINE, ANCHORS]).needs == {'one answer'}
    classes = dict(type='densecl.LabelCrossEntropy')
    assert not Sum(objectives=[classes]).needs_keys and Sum(objectives=[classes, COSINE]).needs_keys
    assert Sum(objectives=[COSINE]).watched_queue is None
    assert Sum(objectives=[COSINE, VIEWS]).weighs and not Sum(objectives=[COSINE, ANCHORS]).weighs
    assert not Sum(objectives=[COSINE]).across and Sum(objectives=[COSINE, VIEWS]).across


def test_the_sum_shows_its_queue():
    parts = [COSINE, dict(VIEWS, queue=8, dim=6)]
    objective = Sum(objectives=parts)
    assert objective.weights == [1.0, 1.0]
    assert objective.watched_queue is objective.objectives[1].queue
    with pytest.raises(ValueError, match='got 1 weights for 2 objectives'):
        Sum(objectives=parts, weights=[1.0])


TERMS = torch.tensor([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0], [64.0, 128.0, 256.0]], dtype=torch.float64)
COUNTED = torch.tensor([[True, False, True], [False, False, False], [False, True, False]])


@pytest.mark.parametrize(
    ('how', 'want'),
    [('rows', (1 + 4 + 128) / 9), ('counted', (1 + 4 + 128) / 3), ('images', ((1 + 4) / 2 + 128) / 3)],
)
def test_what_a_mean_is_divided_by(how, want):
    assert mean_of(TERMS, COUNTED, how).item() == pytest.approx(want, rel=1e-12)
    assert mean_of(TERMS, None, how).item() == pytest.approx(TERMS.mean().item(), rel=1e-12)


def test_a_mean_by_weights_does_not_depend_on_their_size():
    weight = torch.rand(3, 3, dtype=torch.float64)
    want = (TERMS * weight)[COUNTED].sum() / weight[COUNTED].sum()
    for scale in (1.0, 1e-6):
        found = mean_of(TERMS * weight * scale, COUNTED, 'weights', weight * scale)
        assert found.item() == pytest.approx(want.item(), rel=1e-12)
    terms = (TERMS * 0).requires_grad_()
    mean_of(terms * 1e20, COUNTED, 'weights', weight * 0).backward()
    assert terms.grad.isfinite().all()


@pytest.mark.parametrize('how', ['rows', 'counted', 'images'])
def test_what_does_not_count_may_be_nan_and_gets_no_gradient(how):
    terms = torch.where(COUNTED, TERMS, torch.nan).requires_grad_()
    mean_of(terms, COUNTED, how).backward()
    assert (terms.grad[~COUNTED] == 0).all() and (terms.grad[COUNTED] > 0).all()
    nothing = mean_of(terms, COUNTED & False, how)
    assert nothing.item() == 0 and nothing.requires_grad


def test_the_mean_for_the_log():
    assert own_mean(TERMS, COUNTED).item() == pytest.approx(133 / 3)
    assert own_mean(TERMS * torch.nan, COUNTED & False).item() == 0
