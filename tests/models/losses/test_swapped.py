"""SwAV's objective against loops over pairs and over Sinkhorn's steps in the plain domain."""

import math

import pytest
import torch
import torch.nn.functional as F

from densecl.models.losses import SwappedPrediction
from densecl.models.losses.functional import swapped_crops, swapped_prediction
from densecl.schedule import Clock

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


def call(objective, crops, assign=2):
    students = [scores_of(x) for x in crops]
    teachers = [s.detach() for s in students[:assign]]
    return objective(students, teachers, crops[:assign], scores_of)


@pytest.mark.parametrize(('count', 'assign'), [(2, 2), (5, 2), (4, 1), (4, 3)])
def test_every_assigning_crop_is_predicted_from_every_other_crop(count, assign):
    crops = [vectors(6, seed).requires_grad_() for seed in range(count)]
    loss, _ = call(SwappedPrediction(assign=assign), crops, assign)
    students = [scores_of(x) for x in crops]
    codes = [codes_by_hand(s.detach()) for s in students[:assign]]
    want = loss_by_hand(students, codes)
    torch.testing.assert_close(loss, want, rtol=0, atol=1e-12)
    predicting = crops[1:] if assign == 1 else crops  # a single assigning crop predicts nothing
    mine, theirs = (torch.autograd.grad(value, predicting) for value in (loss, want))
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_two_crops_are_the_paper_s_swapped_prediction():
    s1, s2 = scores_of(vectors(6)), scores_of(vectors(6, 1))
    q1, q2 = codes_by_hand(s1), codes_by_hand(s2)
    want = swapped_prediction(s1, s2, q1, q2, 0.1)
    torch.testing.assert_close(swapped_crops([s1, s2], [q1, q2], 0.1), want)


def test_gradient_of_swapped_crops():
    codes = [codes_by_hand(scores_of(vectors(3, seed))) for seed in (0, 1)]
    crops = [scores_of(vectors(3, seed)).requires_grad_() for seed in range(4)]
    assert torch.autograd.gradcheck(lambda *s: swapped_crops(s, codes, 0.1), crops)


def test_queue_fills_from_its_epoch_and_serves_when_full():
    objective = SwappedPrediction(queue=8, dim=C, queue_start=2).double()
    objective.clock = Clock(epoch=3)
    stored = []  # of both crops, what entered
    for step in range(12):
        objective.clock.step = step
        crops = [vectors(4, 10 * step + v) for v in range(3)]
        loss, _ = call(objective, crops)
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
    call(full, [vectors(4, v) for v in range(3)])
    fresh = SwappedPrediction(queue=4, dim=C, queue_start=0).double()
    fresh.load_state_dict(full.state_dict())
    crops = [vectors(4, 20 + v) for v in range(3)]
    before = fresh.queues[0].keys.clone()
    assert torch.equal(call(full.eval(), crops)[0], call(fresh.eval(), crops)[0])
    assert torch.equal(fresh.queues[0].keys, before)


def test_collapse_shows_in_the_entropies():
    objective = SwappedPrediction()
    row = vectors(1).float()
    same = [row.expand(32, C)] * 3  # all images alike: even codes, a loss of ln K at best
    prototypes = PROTOTYPES.float()
    _, collapsed = objective([x @ prototypes.T for x in same], [same[0] @ prototypes.T] * 2, (), None)
    assert collapsed['code_entropy'].item() == pytest.approx(1, abs=1e-4)
    assert collapsed['usage_entropy'] < 0.9  # of what the network itself says
    spread = torch.eye(K).repeat(4, 1)  # each image on a prototype of its own kind
    _, healthy = objective([spread] * 3, [spread] * 2, (), None)
    assert healthy['code_entropy'] < 0.01
    assert healthy['usage_entropy'].item() == pytest.approx(1, abs=1e-4)


def test_guessing_costs_ln_k():
    crops = [torch.zeros(6, K)] * 3
    loss, _ = SwappedPrediction()(crops, crops[:2], (), None)
    assert loss.item() == pytest.approx(math.log(K), abs=1e-6)


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match='epsilon must be > 0'):
        SwappedPrediction(epsilon=0)
    objective = SwappedPrediction(queue=4, dim=C, queue_start=0, assign=3).double()
    with pytest.raises(ValueError, match='assign=3 crops, but the head assigns 2'):
        call(objective, [vectors(4, v) for v in range(3)])
    objective = SwappedPrediction(queue=4, dim=C, queue_start=1).double()
    with pytest.raises(RuntimeError, match=r'queue_start.*clock.epoch'):
        call(objective, [vectors(4, v) for v in range(3)])
