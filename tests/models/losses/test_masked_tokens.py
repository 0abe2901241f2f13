"""Self-distillation of masked tokens against loops: how they are weighted, centred and shared out."""

import pytest
import torch
from oracles import self_distilled as by_hand

from densecl.models.losses import SelfDistillation
from densecl.models.losses import functional as L
from densecl.structures import Batch, Comparison, Match, Units

B, N, K = 4, 5, 6
MASKS = torch.tensor([[1, 0, 1, 1, 0], [0, 0, 0, 0, 0], [0, 1, 0, 0, 0], [1, 1, 1, 1, 1]], dtype=torch.bool)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def compare(student, teacher, masks=MASKS, keys=()):
    """Tokens of one view; both sides know which are masked."""
    query, key = Units(student, valid=masks), Units(teacher, valid=masks)
    match = Match(index=torch.arange(student.shape[1]).expand(len(student), -1), valid=masks)
    return Comparison(query, key, match, Batch(torch.arange(len(student))), keys=(key, *keys))


def grads(loss, x):
    return torch.autograd.grad(loss, x)[0]


# --- the loss -----------------------------------------------------------------------------------------------


def test_each_token_counts_one_over_the_masked_of_its_crop():
    student, teacher = draw(9, K).requires_grad_(), draw(9, K, seed=1).softmax(-1)
    got = L.masked_token_loss(student, teacher, MASKS, 0.5)
    want = by_hand.masked_token_loss(student, teacher, MASKS, 0.5)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)
    torch.testing.assert_close(grads(got, student), grads(want, student), rtol=0, atol=1e-12)
    assert torch.autograd.gradcheck(lambda x: L.masked_token_loss(x, teacher, MASKS, 0.5), student)


@pytest.mark.parametrize('centering', ['softmax', 'sinkhorn'])
def test_the_objective_computes_the_same(centering):
    student, teacher = draw(B, N, K).requires_grad_(), draw(B, N, K, seed=1)
    objective = SelfDistillation(K, 0.5, 0.3, mean='images', centering=centering).double()
    objective.center.copy_(draw(1, K, seed=2))
    loss, found = objective.score(compare(student, teacher))
    if centering == 'softmax':
        targets = ((teacher[MASKS] - objective.center) / 0.3).softmax(-1)
    else:
        targets = by_hand.sinkhorn(teacher[MASKS], 0.3)
    want = by_hand.masked_token_loss(student[MASKS], targets, MASKS, 0.5)
    torch.testing.assert_close(loss, want, rtol=0, atol=1e-12)
    torch.testing.assert_close(loss, L.masked_token_loss(student[MASKS], targets, MASKS, 0.5))
    gradient = grads(loss, student)
    torch.testing.assert_close(gradient, grads(want, student), rtol=0, atol=1e-12)
    assert (gradient[~MASKS] == 0).all() and (gradient[MASKS] != 0).all()
    assert ('center_norm' in found) == (centering == 'softmax')
    usage = targets.mean(0)
    entropy = -(usage * usage.log()).sum() / torch.tensor(float(K)).log()
    assert found['usage_entropy'].item() == pytest.approx(entropy.item(), abs=1e-6)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_and_zeros(dtype):
    student, teacher = draw(9, K), draw(9, K, seed=1).softmax(-1).to(dtype)
    student[0] = 0
    student = student.to(dtype).requires_grad_()
    with torch.autocast('cpu', torch.bfloat16):
        loss = L.masked_token_loss(student, teacher, MASKS, 0.1)
    want = by_hand.masked_token_loss(student.detach().double(), teacher.double(), MASKS, 0.1)
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(want.item(), rel=1e-5)
    found = grads(loss, student)
    assert found.dtype == dtype and found.isfinite().all() and (found != 0).any()


@pytest.mark.parametrize('centering', ['softmax', 'sinkhorn'])
def test_nothing_masked(centering):
    none = torch.zeros(B, N, dtype=torch.bool)
    student = draw(B, N, K).half().requires_grad_()
    objective = SelfDistillation(K, mean='images', centering=centering)
    comparison = compare(student, draw(B, N, K, seed=1).half(), none)
    loss, found = objective.score(comparison)
    assert loss.item() == 0 and (grads(loss, student) == 0).all()
    assert all(x.isfinite() for x in found.values())
    objective.center.fill_(2.0)
    objective.remember([comparison.key], comparison.batch)
    assert (objective.center == 2).all()  # no token, no move
    packed = compare(student[:, :0], student[:, :0].detach(), none[:, :0])  # rows of hidden tokens alone
    assert objective.score(packed)[0].item() == 0
    objective.remember([packed.key], packed.batch)
    assert (objective.center == 2).all()
    empty = draw(0, K).requires_grad_()
    loss = L.masked_token_loss(empty, draw(0, K), none, 0.1)
    assert loss.item() == 0 and grads(loss, empty).shape == (0, K)


def test_other_numbers_of_rows_are_named():
    with pytest.raises(ValueError, match='8 rows of the student and 9 of the teacher for 9 masked tokens'):
        L.masked_token_loss(draw(8, K), draw(9, K), MASKS, 0.1)


# --- the centre ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize('over', ['valid', 'all'])
def test_the_centre_is_of_masked_tokens_or_of_all(over):
    """DINOv2's is of the masked ones, each counting alike; iBOT's of all."""
    teachers, masks = draw(2, B, N, K).unbind(), (MASKS, MASKS.roll(1, 1) & MASKS)
    objective = SelfDistillation(K, center_momentum=0.75, mean='images', centered_over=over).double()
    keys = [Units(x, valid=m) for x, m in zip(teachers, masks, strict=True)]
    objective.remember(keys, Batch(torch.arange(B)))
    rows = [x[m] if over == 'valid' else x.flatten(0, 1) for x, m in zip(teachers, masks, strict=True)]
    torch.testing.assert_close(objective.center, 0.25 * torch.cat(rows).mean(0, keepdim=True))


def test_what_accumulates_keeps_its_masks():
    whole = Units(draw(B, N, K), valid=MASKS)
    parts = [Units(draw(B, N, K)[i : i + 2], valid=MASKS[i : i + 2]).kept() for i in (0, 2)]
    centers = []
    for keys in (whole, Units.joined(parts)):
        objective = SelfDistillation(K, mean='images').double()
        objective.remember([keys], Batch(torch.arange(B)))
        centers.append(objective.center)
    torch.testing.assert_close(*centers, rtol=0, atol=1e-15)
    assert centers[0].any()


# --- Sinkhorn -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize('temperature', [0.04, 0.3])
def test_rows_that_are_not_there_take_no_part(temperature):
    scores = draw(B, N, K)
    got = L.sinkhorn(scores.flatten(0, 1), temperature, 3, valid=MASKS.flatten()).view_as(scores)
    want = by_hand.sinkhorn(scores[MASKS], temperature)
    torch.testing.assert_close(got[MASKS], want, rtol=0, atol=1e-12)
    assert (got[~MASKS] == 0).all()
    everything = L.sinkhorn(scores.flatten(0, 1), temperature, 3).view_as(scores)
    assert not torch.allclose(everything[MASKS], want, atol=1e-3)


@pytest.mark.parametrize('masked', [False, True])
def test_positions_apart(masked):
    scores, valid = draw(B, N, K), MASKS if masked else None
    got = L.sinkhorn(scores, 0.3, 3, valid=valid)
    for i in range(N):
        there = MASKS[:, i] if masked else torch.ones(B, dtype=torch.bool)
        torch.testing.assert_close(got[there, i], by_hand.sinkhorn(scores[there, i], 0.3), rtol=0, atol=1e-12)


@pytest.mark.parametrize('over', ['valid', 'all'])
def test_all_key_views_share_the_prototypes_out_together(over):
    student, first, second = draw(3, B, N, K).unbind()
    other = Units(second)  # all of its tokens are there
    objective = SelfDistillation(
        K, 0.5, 0.3, mean='images', centering='sinkhorn', centered_over=over
    ).double()
    loss, _ = objective.score(compare(student, first, keys=(other,)))
    scores = torch.cat([first, second])
    there = torch.ones(2 * B, N, dtype=torch.bool)
    if over == 'valid':
        there[:B] = MASKS
    codes = torch.zeros_like(scores)
    codes[there] = by_hand.sinkhorn(scores[there], 0.3)
    want = by_hand.masked_token_loss(student[MASKS], codes[:B][MASKS], MASKS, 0.5)
    torch.testing.assert_close(loss, want, rtol=0, atol=1e-12)
    alone, _ = objective.score(compare(student, first))
    assert abs(alone - loss) > 1e-4


def test_codes_follow_the_temperature_and_are_made_once(monkeypatch):
    objective, calls = SelfDistillation(K, centering='sinkhorn', iterations=5).double(), []
    monkeypatch.setattr(
        'densecl.models.losses.self_distillation.sinkhorn',
        lambda *args, **kwargs: calls.append(args[1:]) or L.sinkhorn(*args, **kwargs),
    )
    keys = [Units(x) for x in draw(2, B, N, K)]
    match, batch = Match(index=torch.arange(N).expand(B, N)), Batch(torch.arange(B))
    for key in keys:
        objective.score(Comparison(Units(draw(B, N, K)), key, match, batch, keys=tuple(keys)))
    assert calls == [(0.04, 5)]


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="centering must be 'softmax' or 'sinkhorn', got 'swav'"):
        SelfDistillation(K, centering='swav')
    with pytest.raises(ValueError, match="centered_over must be 'valid' or 'all', got 'masked'"):
        SelfDistillation(K, centered_over='masked')
