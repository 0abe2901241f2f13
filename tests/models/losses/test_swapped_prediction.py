"""SwAV's objective against loops over pairs and over Sinkhorn's steps in the plain domain."""

import math

import pytest
import torch
import torch.nn.functional as F

from densecl.models.losses import SwappedPrediction, assignment
from densecl.models.losses.functional import swapped_prediction
from densecl.schedule import Clock
from densecl.structures import Batch, Comparison, Match, Units

K, C = 7, 5


def vectors(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, C, generator=generator, dtype=torch.float64)
    return F.normalize(x, dim=1)


PROTOTYPES = vectors(K, seed=9)


def scores_of(x):
    return x @ PROTOTYPES.T


def codes_by_hand(scores, epsilon=0.05, iterations=3):
    """exp, then rows to 1/K and columns to 1/B in turn, the columns last; (B, K) -> (B, K)."""
    q = (scores / epsilon).exp().T
    q = q / q.sum()
    for _ in range(iterations):
        q = q / q.sum(1, keepdim=True) / q.shape[0]
        q = q / q.sum(0, keepdim=True) / q.shape[1]
    return (q * q.shape[1]).T


def loss_by_hand(crops, codes, temperature=0.1):
    total = 0.0
    for a, code in enumerate(codes):
        sub = 0.0
        for v, scores in enumerate(crops):
            if v == a:
                continue
            for row, target in zip(scores, code, strict=True):
                p = (row / temperature).exp() / (row / temperature).exp().sum()
                sub = sub - (target * p.log()).sum() / len(scores)
        total = total + sub / (len(crops) - 1)
    return total / len(codes)


class Projector:
    """Scores of embeddings, as a projector with prototypes gives them."""

    @staticmethod
    def prototypes(x):
        return scores_of(x)


def units(embeddings, view):
    return Units(scores_of(embeddings)[:, None], embeddings=embeddings[:, None], view=view)


def train(objective, crops, assign=2):
    """The mean over all pairs as a head takes it; what is remembered afterwards; the last diagnostics."""
    batch = Batch(torch.arange(len(crops[0])))
    queries = [units(x, v) for v, x in enumerate(crops)]
    keys = [query.detach() for query in queries[:assign]]
    match = Match(index=torch.zeros(len(crops[0]), 1, dtype=torch.int64))
    results = [
        objective.score(Comparison(query, key, match, batch, projector=Projector))
        for key in keys
        for query in queries
        if query.view != key.view
    ]
    if objective.training:
        objective.remember(keys, batch)
    return sum(value for value, _ in results) / len(results), results[-1][1]


def of_scores(scores):
    """Diagnostics and loss of two views with the same (B, K) scores."""
    return SwappedPrediction().score(Comparison.of_rows(scores, scores))


@pytest.mark.parametrize(('count', 'assign'), [(2, 2), (5, 2), (4, 1), (4, 3)])
def test_every_assigning_crop_is_predicted_from_every_other_crop(count, assign):
    crops = [vectors(6, seed).requires_grad_() for seed in range(count)]
    loss, _ = train(SwappedPrediction(assign=assign), crops, assign)
    students = [scores_of(x) for x in crops]
    codes = [codes_by_hand(s.detach()) for s in students[:assign]]
    want = loss_by_hand(students, codes)
    torch.testing.assert_close(loss, want, rtol=0, atol=1e-12)
    predicting = crops[1:] if assign == 1 else crops  # a single assigning crop predicts nothing
    mine, theirs = (torch.autograd.grad(value, predicting) for value in (loss, want))
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_two_crops_are_the_paper_s_swapped_prediction():
    crops = [vectors(6), vectors(6, 1)]
    s1, s2 = (scores_of(x) for x in crops)
    want = swapped_prediction(s1, s2, codes_by_hand(s1), codes_by_hand(s2), 0.1)
    torch.testing.assert_close(train(SwappedPrediction(), crops)[0], want)


def test_codes_and_predictions_are_made_once_a_view(monkeypatch):
    calls = {'sinkhorn': 0, 'log_shares': 0}
    for name in calls:
        function = getattr(assignment, name)

        def counted(*args, name=name, function=function, **kwargs):
            calls[name] += 1
            return function(*args, **kwargs)

        monkeypatch.setattr(assignment, name, counted)
    train(SwappedPrediction(), [vectors(6, v) for v in range(5)])
    assert calls == {'sinkhorn': 2, 'log_shares': 5}


def test_temperature_on_a_schedule():
    objective = SwappedPrediction(temperature=dict(start=0.4, end=0.2, shape='linear'))
    objective.clock = Clock(step=5, total=10)
    crops = [vectors(6, seed) for seed in range(2)]
    scores = [scores_of(x) for x in crops]
    want = loss_by_hand(scores, [codes_by_hand(x) for x in scores], 0.3)
    torch.testing.assert_close(train(objective, crops)[0], want)


def test_queue_fills_from_its_epoch_and_serves_when_full():
    objective = SwappedPrediction(queue=8, dim=C, queue_start=2).double()
    objective.clock = Clock(epoch=3)
    stored = []  # of both crops, what entered
    for step in range(12):
        objective.clock.step = step
        crops = [vectors(4, 10 * step + v) for v in range(3)]
        loss, _ = train(objective, crops)
        ready = len(stored) >= 2  # two batches of 4 fill 8
        assert ready == (step >= 8)
        codes = []
        for a in range(2):
            rows = crops[a]
            if ready:  # the last two batches, before this one enters
                rows = torch.cat([stored[-2][a], stored[-1][a], rows])
            codes.append(codes_by_hand(scores_of(rows))[-4:])
        want = loss_by_hand([scores_of(x) for x in crops], codes)
        torch.testing.assert_close(loss, want, rtol=0, atol=1e-12)
        if step >= 6:  # epoch 2
            stored.append(crops)
    assert int(objective.queues[1].enqueued) == 24


def test_queue_survives_a_checkpoint_and_stands_still_in_eval():
    full = SwappedPrediction(queue=4, dim=C, queue_start=0).double()
    train(full, [vectors(4, v) for v in range(3)])
    fresh = SwappedPrediction(queue=4, dim=C, queue_start=0).double()
    fresh.load_state_dict(full.state_dict())
    crops = [vectors(4, 20 + v) for v in range(3)]
    before = fresh.queues[0].keys.clone()
    assert torch.equal(train(full.eval(), crops)[0], train(fresh.eval(), crops)[0])
    assert torch.equal(fresh.queues[0].keys, before)


def test_scoring_alone_leaves_nothing_behind():
    objective = SwappedPrediction(queue=4, dim=C, queue_start=0).double()
    before = {name: value.clone() for name, value in objective.state_dict().items()}
    key = units(vectors(4, 1), 0)
    comparison = Comparison.of_rows(scores_of(vectors(4)), key.vectors[:, 0])
    comparison.projector = Projector
    objective.score(comparison)
    assert all(torch.equal(value, before[name]) for name, value in objective.state_dict().items())
    objective.remember([key], Batch(torch.arange(4)))
    assert torch.equal(objective.queues[0].keys, key.embeddings[:, 0])
    assert torch.equal(objective.queues[1].keys, before['queues.1.keys'])


@pytest.mark.parametrize('queue', [0, 2])
def test_units_that_do_not_exist_take_no_part(queue):
    """Two units an image, one of them missing in some: the codes are those of the others together."""
    valid = torch.tensor([[True, False], [True, True], [False, True], [True, True]])
    objective = SwappedPrediction(queue=queue, dim=C, queue_start=0).double()
    for each in objective.queues:
        each.enqueue(vectors(queue, seed=3))
    rows = vectors(8)
    queued = [each.keys for each in list(objective.queues)[:1]]
    want = codes_by_hand(scores_of(torch.cat([*queued, rows.view(4, 2, C)[valid]])))[-valid.sum() :]
    for other in (0.0, 5.0):
        changed = torch.where(valid[..., None], rows.view(4, 2, C), other * vectors(1, seed=4))
        key = Units(scores_of(changed), embeddings=changed, valid=valid, view=0)
        codes, found = objective.codes(key, Projector, 0.1)
        torch.testing.assert_close(codes[valid], want)
        assert not codes[~valid].any()
        entropies = torch.special.entr(want).sum(1) / math.log(K)
        torch.testing.assert_close(found['code_entropy'], entropies.mean())
        usage = (scores_of(changed[valid]) / 0.1).softmax(1).mean(0)
        torch.testing.assert_close(found['usage_entropy'], torch.special.entr(usage).sum() / math.log(K))
    together = SwappedPrediction(assigned='all').double().codes(key, Projector, 0.1)[0]
    torch.testing.assert_close(together.flatten(0, 1), codes_by_hand(key.vectors.flatten(0, 1)))


def test_collapse_shows_in_the_entropies():
    same = scores_of(vectors(1)).float().expand(32, K)  # all alike: even codes, a loss of ln K at best
    _, collapsed = of_scores(same)
    assert collapsed['code_entropy'].item() == pytest.approx(1, abs=1e-4)
    assert collapsed['groups'].item() == pytest.approx(1, abs=1e-4)
    assert collapsed['usage_entropy'] < 0.9  # of what the network itself says
    _, healthy = of_scores(torch.eye(K).repeat(4, 1))  # each image on a prototype of its own kind
    assert healthy['code_entropy'] < 0.01
    assert healthy['usage_entropy'].item() == pytest.approx(1, abs=1e-4)
    assert healthy['groups'].item() == pytest.approx(K, rel=0.05)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
def test_guessing_costs_ln_k(dtype):
    zeros = torch.zeros(6, K, dtype=dtype, requires_grad=True)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss, _ = of_scores(zeros)
    loss.backward()
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(math.log(K), abs=1e-6)
    assert zeros.grad.isfinite().all()


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match='epsilon must be > 0'):
        SwappedPrediction(epsilon=0)
    with pytest.raises(ValueError, match='temperature must be positive, got 0'):
        SwappedPrediction(temperature=0)
    objective = SwappedPrediction(queue=4, dim=C, queue_start=0, assign=2).double()
    with pytest.raises(ValueError, match='view 2 assigns, but assign=2 .* set assign=3'):
        train(objective, [vectors(4, v) for v in range(3)], assign=3)
    objective = SwappedPrediction(queue=4, dim=C, queue_start=1).double()
    with pytest.raises(RuntimeError, match=r'queue_start.*clock.epoch'):
        train(objective, [vectors(4, v) for v in range(3)])
