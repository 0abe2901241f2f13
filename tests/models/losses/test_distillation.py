"""DINO's objective against loops over pairs; when the centre moves, and the schedule of temperatures."""

import math

import pytest
import torch

from densecl.models.losses import SelfDistillation
from densecl.schedule import Clock

K = 7


def logits(seed, rows=4, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(rows, K, generator=generator, dtype=torch.float64)


def loss_by_hand(students, teachers, center, teacher_temperature):
    terms = []
    for i, teacher in enumerate(teachers):
        for v, student in enumerate(students):
            if v == i:
                continue
            target = ((teacher - center) / teacher_temperature).softmax(-1)
            terms.append(-(target * (student / 0.1).log_softmax(-1)).sum(-1).mean())
    return sum(terms) / len(terms), len(terms)


def test_every_other_crop_is_a_pair_and_the_centre_moves_after_its_use():
    objective = SelfDistillation(prototypes=K).double()
    center = torch.zeros(1, K, dtype=torch.float64)
    for step in range(3):
        students = [logits(100 * step + v).requires_grad_() for v in range(10)]
        teachers = [logits(100 * step + 50 + v, scale=0.1) for v in range(2)]
        loss, diagnostics = objective(students, teachers)
        want, pairs = loss_by_hand(students, teachers, center, 0.04)
        assert pairs == 18
        torch.testing.assert_close(loss, want, rtol=0, atol=1e-12)
        assert diagnostics['center_norm'].item() == pytest.approx(center.norm().item(), abs=1e-12)
        for mine, theirs in zip(
            torch.autograd.grad(loss, students), torch.autograd.grad(want, students), strict=True
        ):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)
        center = 0.9 * center + 0.1 * torch.cat(teachers).mean(0, keepdim=True)
        torch.testing.assert_close(objective.center, center, rtol=0, atol=1e-12)
    objective.eval()(students, teachers)
    torch.testing.assert_close(objective.center, center, rtol=0, atol=1e-12)


def test_teacher_gets_no_gradient_and_the_centre_is_state():
    objective = SelfDistillation(prototypes=K).double()
    teachers = [logits(v).requires_grad_() for v in range(2)]
    loss, _ = objective([logits(9 + v).requires_grad_() for v in range(3)], teachers)
    loss.backward()
    assert all(t.grad is None for t in teachers)
    assert {k: tuple(v.shape) for k, v in objective.state_dict().items()} == {'center': (1, K)}


def test_teacher_temperature_rises_with_the_epoch():
    """0.04 + 0.03 i / 29 in epoch i of the first 30 (numpy's linspace), then 0.07."""
    objective = SelfDistillation(
        prototypes=K,
        teacher_temperature=dict(
            start=0.04, end=0.07, shape='linear', duration=30, unit='epoch', by_epoch=True
        ),
    ).double()
    students, teachers = [logits(v) for v in range(3)], [logits(9 + v) for v in range(2)]
    objective.clock = Clock(total=1000, epoch=10)
    for step in (0, 9, 10, 155, 299, 300, 999):
        objective.clock.step = step
        objective.center.zero_()
        want, _ = loss_by_hand(students, teachers, 0, 0.04 + 0.03 * min(step // 10, 29) / 29)
        torch.testing.assert_close(objective(students, teachers)[0], want, rtol=0, atol=1e-12)


def spread(teacher):
    _, found = SelfDistillation(prototypes=K)([teacher] * 3, [teacher] * 2)
    return found['teacher_entropy'].item(), found['usage_entropy'].item()


def test_both_kinds_of_collapse_show_in_the_entropies():
    one_hot, uniform = torch.zeros(28, K), torch.zeros(28, K)
    one_hot[:, 3] = 1
    healthy = torch.eye(K).repeat(4, 1)
    assert spread(uniform) == pytest.approx((1, 1), abs=1e-6)
    assert spread(one_hot) == pytest.approx((0, 0), abs=1e-6)
    assert spread(healthy) == pytest.approx((0, 1), abs=1e-6)


def test_entropies_are_shares_of_ln_k():
    teacher = logits(3).float()
    p = (teacher / 0.04).softmax(-1).double()
    rows = [-sum(float(x) * math.log(x) for x in row if x > 0) for row in p]
    mean = -sum(float(x) * math.log(x) for x in p.mean(0) if x > 0)
    want = sum(rows) / len(rows) / math.log(K), mean / math.log(K)
    assert spread(teacher) == pytest.approx(want, abs=1e-6)


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match='teacher_temperature must be > 0, got 0'):
        SelfDistillation(prototypes=K, teacher_temperature=0)
    with pytest.raises(ValueError, match=r'center_momentum must be in \[0, 1\], got 2'):
        SelfDistillation(prototypes=K, center_momentum=2)
    with pytest.raises(ValueError, match='prototypes=9, but the projector has 7'):
        SelfDistillation(prototypes=9)([logits(0)] * 3, [logits(0)] * 2)
