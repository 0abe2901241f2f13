"""Order of neighbours, kernel alignment, similarity rows, queue distillation: against loops in float64."""

import math

import pytest
import torch
import torch.nn.functional as F
from oracles import post_training as by_hand

from densecl.models.losses import KernelAlignment, NeighbourOrder, QueueDistillation, SimilarityRows
from densecl.models.losses import functional as L
from densecl.models.losses.sorting import bitonic_network, soft_order
from densecl.structures import Batch, Comparison, Match, Units


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize('count', [1, 2, 4, 7, 8, 9, 16, 25])
def test_soft_order_follows_every_comparator(count):
    x = draw(3, count)
    shares = soft_order(x, bitonic_network(count), 3.0)
    want = [by_hand.soft_places(list(row), 3.0) for row in x]
    torch.testing.assert_close(shares, torch.tensor(want, dtype=torch.float64))
    torch.testing.assert_close(shares.sum(-1), torch.ones(3, count, dtype=torch.float64))
    torch.testing.assert_close(shares.sum(-2), torch.ones(3, count, dtype=torch.float64))


@pytest.mark.parametrize('count', [2, 8, 16, 64])
def test_a_steep_order_of_a_power_of_two_is_the_order(count):
    x = draw(5, count)
    shares = soft_order(x, bitonic_network(count), 1e9)
    torch.testing.assert_close((x[:, None] @ shares)[:, 0], x.sort(-1).values, rtol=0, atol=1e-5)


def test_49_places_have_21_layers():
    partners, signs = bitonic_network(49)
    assert partners.shape == signs.shape == (21, 49)
    assert torch.equal(partners.gather(1, partners), torch.arange(49).expand(21, -1))
    assert torch.equal(signs == 0, partners == torch.arange(49))
    paired = signs + signs.gather(1, partners)
    assert not paired.any(), 'one takes the smaller, the other the larger'


def test_neco_values_and_gradients():
    sides = draw(2, 3, 2, 2), draw(2, 3, 2, 2, seed=1), draw(2, 3, 2, 3, seed=2)
    leaves, others = ([x.clone().requires_grad_() for x in sides] for _ in range(2))
    value, want = L.neco_loss(*leaves, 5.0, 9.0), by_hand.neco(*others, 5.0, 9.0)
    torch.testing.assert_close(value, want)
    value.backward(), want.backward()
    torch.testing.assert_close(leaves[0].grad, others[0].grad)
    assert leaves[1].grad is None and leaves[2].grad is None
    assert torch.autograd.gradcheck(lambda x: L.neco_loss(x, *sides[1:], 5.0, 9.0), sides[0].requires_grad_())


def test_neco_bounds():
    """Equal orders of steep comparators cost nothing, no order at all ln n."""
    x, reference = draw(2, 5, 3, 3), draw(2, 5, 4, 4, seed=1)
    assert L.neco_loss(x, x, reference, 1e7, 1e7) < 1e-3
    alike = torch.ones_like(reference)
    torch.testing.assert_close(float(L.neco_loss(x, x, alike, 100.0, 100.0)), math.log(16), rtol=0.02, atol=0)


@pytest.mark.parametrize('masked', [False, True])
def test_patch_kernel_alignment(masked):
    student, teacher = draw(4, 5, 3).requires_grad_(), draw(4, 5, 2, seed=1).requires_grad_()
    ignore = torch.zeros(4, 5, dtype=torch.bool)
    if masked:
        ignore[0, :2], ignore[1, 1:], ignore[2] = True, True, True  # 3, 1, 0 and 5 tokens are left
    value = L.patch_kernel_alignment(student, teacher, ignore if masked else None)
    torch.testing.assert_close(value, by_hand.kernel_alignment(student, teacher.detach(), ignore))
    value.backward()
    assert teacher.grad is None and student.grad[3].abs().sum() > 0
    assert masked == (not student.grad[1].any())
    fixed = teacher.detach()
    assert torch.autograd.gradcheck(lambda x: L.patch_kernel_alignment(x, fixed, ignore), student)


def test_kernels_of_images_without_two_tokens_or_without_differences():
    student = draw(2, 3, 4).requires_grad_()
    nothing = L.patch_kernel_alignment(
        student, draw(2, 3, 4), torch.tensor([[True] * 3, [True, True, False]])
    )
    nothing.backward()
    assert nothing == 0 and not student.grad.any()
    alike = torch.ones(2, 3, 4, dtype=torch.float64, requires_grad=True)
    value = L.patch_kernel_alignment(alike, draw(2, 3, 4))
    value.backward()
    assert value == 1 and torch.equal(alike.grad, torch.zeros_like(alike))


def test_similarity_distillation():
    student, teacher = (F.normalize(draw(2, 4, 3, seed=i), dim=-1) for i in range(2))
    want = by_hand.similarity_distillation(student, teacher, 0.2)
    torch.testing.assert_close(L.similarity_distillation(student, teacher, 0.2), want)
    assert L.similarity_distillation(teacher, teacher, 0.2).abs() < 1e-12
    leaf = student.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: L.similarity_distillation(x, teacher, 0.2), leaf)


def test_similarity_rows_leave_units_out():
    """As if they were not there; an image without any adds nothing, and no NaN."""
    student, teacher = draw(3, 4, 3).requires_grad_(), draw(3, 4, 2, seed=1)
    valid = torch.tensor([[1, 1, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1]], dtype=torch.bool)
    c = Comparison.of_sets(student, teacher)
    c.match.valid = valid
    value, _ = SimilarityRows(0.2).score(c)
    kept = [F.normalize(x[0, valid[0]][None], dim=-1) for x in (student, teacher)]
    whole = [F.normalize(x[2:], dim=-1) for x in (student, teacher)]
    parts = [by_hand.similarity_distillation(*pair, 0.2) * pair[0].shape[1] for pair in (kept, whole)]
    torch.testing.assert_close(value, sum(parts) / 7)
    value.backward()
    assert student.grad.isfinite().all() and not student.grad[1].any() and not student.grad[0, 2].any()


def test_queue_distillation():
    student, teacher, queue = (F.normalize(draw(n, 3, seed=n), dim=-1) for n in (4, 4, 6))
    teacher = teacher.flip(0)
    want = by_hand.queue_distillation(student, teacher, queue, 0.2)
    torch.testing.assert_close(L.queue_distillation(student, teacher, queue, 0.2), want)
    leaf = student.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: L.queue_distillation(x, teacher, queue, 0.2), leaf)


def compared(student, teacher):
    """(B, D) of images as a comparison that can be remembered."""
    c = Comparison.of_rows(student, teacher, Batch.numbered(torch.arange(len(student))))
    c.query.pooled, c.key.pooled = student, teacher
    return c


def test_the_queue_has_what_was_there_and_nothing_else():
    """Its random first vectors are no classes; the batch's own always are."""
    objective = QueueDistillation(dim=3, queue=5, temperature=0.2).double()
    sides = [[F.normalize(draw(2, 3, seed=10 * step + i), dim=-1) for i in range(2)] for step in range(4)]
    seen = torch.empty(0, 3, dtype=torch.float64)
    for student, teacher in sides:
        c = compared(student, teacher)
        value, found = objective.score(c)
        classes = torch.cat([teacher, seen[-5:]])
        torch.testing.assert_close(value, by_hand.queue_distillation(student, teacher, classes, 0.2))
        torch.testing.assert_close(found['pos_sim'], (student * teacher).sum(-1).mean())
        objective.remember([c.key], c.batch)
        seen = torch.cat([seen, teacher])


def test_neighbours_are_answers_that_were_found():
    answers = torch.arange(12.0)[:, None].expand(-1, 2).reshape(3, 4, 2)
    found = torch.ones(3, 4, dtype=torch.bool)
    torch.manual_seed(0)
    everyone = NeighbourOrder(count=4).references(answers, found)
    assert sorted(everyone[..., 0].flatten().tolist()) == list(range(12))
    assert everyone[..., 0].flatten().tolist() != list(range(12))
    found[1] = False
    some = NeighbourOrder(count=3).references(answers, found)[..., 0].flatten().tolist()
    assert set(some) == {0, 1, 2, 3, 8, 9, 10, 11} and len(some) == 9  # one of them twice
    few = NeighbourOrder(count=5).references(answers, found & False)
    assert few.shape == (3, 5, 2) and few.isfinite().all()


def test_the_objective_runs_the_function():
    student, teacher = draw(2, 4, 3).requires_grad_(), draw(2, 4, 3, seed=1)
    valid = torch.tensor([[True] * 4, [False] * 4])
    c = Comparison(Units(student), Units(teacher), Match(torch.arange(4).expand(2, -1), valid=valid), None)
    objective = NeighbourOrder(count=4, student_steepness=5.0, teacher_steepness=9.0)
    torch.manual_seed(0)
    value, _ = objective.score(c)
    torch.manual_seed(0)
    reference = objective.references(teacher, valid)
    maps = [x[:1].mT.unflatten(2, (2, 2)) for x in (student, teacher, reference)]
    torch.testing.assert_close(value, L.neco_loss(*maps, 5.0, 9.0))
    value.backward()
    assert student.grad[0].abs().sum() > 0 and not student.grad[1].any()
    assert not objective.state_dict(), 'the network is no state'
    none = Match(torch.arange(4).expand(2, -1), valid=valid & False)
    assert objective.score(Comparison(Units(student), Units(teacher), none, None))[0] == 0


def test_wrong_settings_are_named():
    for make, text in (
        (lambda: NeighbourOrder(count=1), 'count must be 2 or more'),
        (lambda: NeighbourOrder(teacher_steepness=0), 'teacher_steepness must be > 0'),
        (lambda: QueueDistillation(dim=3, temperature=0), 'temperature must be > 0'),
        (lambda: SimilarityRows(temperature=-1), 'temperature must be > 0'),
    ):
        with pytest.raises(ValueError, match=text):
            make()
    assert KernelAlignment().needs == {'several', 'one answer'}


def test_vectors_of_another_width_than_the_queue_are_refused():
    sides = draw(2, 1, 3), draw(2, 1, 3, seed=1)
    with pytest.raises(ValueError, match='dim=4, but student and teacher are 3 and 3 wide'):
        QueueDistillation(4, 5).score(Comparison.of_sets(*sides))
