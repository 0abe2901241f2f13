"""DINO's objective and SlotCon's grouping against loops; when the centre moves, the temperatures."""

import math

import pytest
import torch

from densecl.models.losses import SelfDistillation
from densecl.models.matching import SharedGrid
from densecl.schedule import Clock
from densecl.structures import Batch, Comparison, Match, Place, Units

K = 7


def logits(seed, rows=4, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(rows, K, generator=generator, dtype=torch.float64)


def train(objective, students, teachers):
    """The mean over all pairs as a head takes it; what is remembered afterwards; the last diagnostics."""
    batch = Batch(torch.arange(len(students[0])))
    queries, keys = ([Units(x[:, None], view=v) for v, x in enumerate(side)] for side in (students, teachers))
    match = Match(index=torch.zeros(len(students[0]), 1, dtype=torch.int64))
    results = [
        objective.score(Comparison(query, key, match, batch))
        for key in keys
        for query in queries
        if query.view != key.view
    ]
    if objective.training:
        objective.remember(keys, batch)
    return sum(value for value, _ in results) / len(results), results[-1][1]


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
        loss, diagnostics = train(objective, students, teachers)
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
    train(objective.eval(), students, teachers)
    torch.testing.assert_close(objective.center, center, rtol=0, atol=1e-12)


def test_teacher_gets_no_gradient_and_the_centre_is_state():
    objective = SelfDistillation(prototypes=K).double()
    teachers = [logits(v).requires_grad_() for v in range(2)]
    loss, _ = train(objective, [logits(9 + v).requires_grad_() for v in range(3)], teachers)
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
        torch.testing.assert_close(train(objective, students, teachers)[0], want, rtol=0, atol=1e-12)


def spread(teacher):
    _, found = SelfDistillation(prototypes=K).score(Comparison.of_rows(teacher, teacher))
    return found['teacher_entropy'].item(), found['usage_entropy'].item()


def groups(teacher):
    return SelfDistillation(prototypes=K).score(Comparison.of_rows(teacher, teacher))[1]['groups'].item()


def test_both_kinds_of_collapse_show_in_the_entropies():
    one_hot, uniform = torch.zeros(28, K), torch.zeros(28, K)
    one_hot[:, 3] = 1
    healthy = torch.eye(K).repeat(4, 1)
    assert spread(uniform) == pytest.approx((1, 1), abs=1e-6)
    assert spread(one_hot) == pytest.approx((0, 0), abs=1e-6)
    assert spread(healthy) == pytest.approx((0, 1), abs=1e-6)
    assert [groups(x) for x in (uniform, one_hot, healthy)] == pytest.approx([1, 1, K], rel=1e-5)


def test_entropies_are_shares_of_ln_k():
    teacher = logits(3).float()
    p = (teacher / 0.04).softmax(-1).double()
    rows = [-sum(float(x) * math.log(x) for x in row if x > 0) for row in p]
    mean = -sum(float(x) * math.log(x) for x in p.mean(0) if x > 0)
    want = sum(rows) / len(rows) / math.log(K), mean / math.log(K)
    assert spread(teacher) == pytest.approx(want, abs=1e-6)


@pytest.fixture
def grids():
    """Scores (B, N, K) of both views' cells on a common grid, where three of four images have one."""
    student, teacher = torch.randn(2, 4, 6, K, dtype=torch.float64).unbind()
    valid = torch.tensor([True, True, False, True])[:, None].expand(-1, 6)
    return student.requires_grad_(), teacher, valid


def compare(student, teacher, valid):
    match = Match(index=torch.arange(6).expand(4, 6), valid=valid)
    return Comparison(Units(student), Units(teacher), match, Batch(torch.arange(4)))


def test_grouping_of_cells(grids):
    student, teacher, valid = grids
    objective = SelfDistillation(K, teacher_temperature=0.3, student_temperature=0.5, mean='counted').double()
    objective.center.copy_(torch.randn(1, K))
    loss, found = objective.score(compare(*grids))
    total, rows = 0.0, []
    for b, i in valid.nonzero().tolist():
        wanted = [math.exp(float(teacher[b, i, k] - objective.center[0, k]) / 0.3) for k in range(K)]
        given = [math.exp(float(student[b, i, k].detach()) / 0.5) for k in range(K)]
        rows.append([w / sum(wanted) for w in wanted])
        total -= sum(w * math.log(g / sum(given)) for w, g in zip(rows[-1], given, strict=True))
    assert loss.item() == pytest.approx(total / 18, rel=1e-12)
    usage = [sum(row[k] for row in rows) / 18 for k in range(K)]
    want = -sum(p * math.log(p) for p in usage) / math.log(K)
    assert found['usage_entropy'].item() == pytest.approx(want, rel=1e-12)
    mean = -sum(p * math.log(p) for row in rows for p in row) / 18 / math.log(K)
    assert found['teacher_entropy'].item() == pytest.approx(mean, rel=1e-12)
    information = sum(p * math.log(p / q) for row in rows for p, q in zip(row, usage, strict=True)) / 18
    assert found['groups'].item() == pytest.approx(math.exp(information), rel=1e-12)
    loss.backward()
    assert (student.grad[2] == 0).all() and (student.grad[3] != 0).all()
    one_by_one = SelfDistillation(K, teacher_temperature=0.3, student_temperature=0.5).double()
    one_by_one.center.copy_(objective.center)
    value, _ = one_by_one.score(compare(*grids))
    assert value.item() == pytest.approx(total / 24, rel=1e-12)


def test_the_centre_takes_the_key_sets_as_they_are(grids):
    student, teacher, valid = grids
    objective = SelfDistillation(K, mean='counted').double()
    objective.score(compare(student, teacher, valid))
    whole = [torch.randn(4, n, K, dtype=torch.float64) for n in (9, 9)]  # not what was read for the pair
    objective.remember([Units(x) for x in whole], Batch(torch.arange(4)))
    torch.testing.assert_close(objective.center, 0.1 * torch.cat(whole, 1).mean((0, 1))[None])


def test_no_unit_counts(grids):
    student, teacher, valid = grids
    loss, found = SelfDistillation(K, mean='counted').double().score(compare(student, teacher, valid & False))
    loss.backward()
    assert loss.item() == found['teacher_entropy'].item() == found['usage_entropy'].item() == 0
    assert (student.grad == 0).all()


def test_half_precision_and_zeros():
    student = torch.zeros(4, K, dtype=torch.float16, requires_grad=True)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss, _ = SelfDistillation(K).score(Comparison.of_rows(student, torch.zeros(4, K).half()))
    loss.backward()
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(math.log(K), abs=1e-6)
    assert student.grad.isfinite().all()


def test_one_key_an_image_is_not_copied():
    keys = torch.randn(3, 1, K)
    match = Match(index=torch.zeros(3, 5, dtype=torch.int64))
    found = match.sum_of(keys)
    assert found.shape == (3, 5, K) and found.data_ptr() == keys.data_ptr()


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match='teacher_temperature must be positive, got 0'):
        SelfDistillation(prototypes=K, teacher_temperature=0)
    with pytest.raises(ValueError, match=r'center_momentum must be in \[0, 1\], got 2'):
        SelfDistillation(prototypes=K, center_momentum=2)
    with pytest.raises(ValueError, match='prototypes=9, but the projector has 7'):
        SelfDistillation(prototypes=9).score(Comparison.of_rows(logits(0), logits(1)))


def test_images_without_overlap_take_no_part_in_sinkhorn():
    """On a grid that both views show: the loss is that of the images that overlap."""
    objective = SelfDistillation(4, centering='sinkhorn', mean='counted').double()
    scores = torch.randn(2, 3, 9, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    near, other = torch.tensor([[0.0, 0, 60, 60]]), torch.tensor([[10.0, 5, 70, 65]])
    losses = []
    for crops in ([other, other], [other, other, other + 100]):
        sides = [
            Units(x, place=Place(place, torch.zeros(len(x)).bool(), None, (9, 9), (3, 3)))
            for x, place in zip(
                scores[:, : len(crops)], (near.expand(len(crops), 4), torch.cat(crops)), strict=True
            )
        ]
        batch = Batch.numbered(torch.arange(len(crops)))
        match = SharedGrid()(*sides, batch)
        losses.append(objective.score(Comparison(*match.read(*sides), match, batch))[0])
    torch.testing.assert_close(*losses, rtol=1e-12, atol=0)
