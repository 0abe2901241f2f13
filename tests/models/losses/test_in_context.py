"""In-context prediction against loops in float64, its support, and the rule beside it."""

import math
from itertools import product

import pytest
import torch
from oracles import post_training as by_hand

from densecl.models.losses import InContext
from densecl.models.losses import functional as L
from densecl.models.matching import SameSegment
from densecl.structures import Batch, Comparison, Units, ViewRegions, labels_in
from tests.models.heads.made import GRID, build, make_views, maps, score


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def shares_of(*shape, seed=0, missing=()):
    """Shares of labels that add up to 1, with some that no unit has."""
    labels = draw(*shape, seed=seed).exp()
    labels = labels * (draw(*shape, seed=seed + 7) > 0)
    labels[..., list(missing)] = 0
    return labels / labels.sum(-1, keepdim=True).clamp(min=1e-9)


def test_values_and_gradients():
    query, support = draw(3, 5, 4).requires_grad_(), draw(3, 6, 4, seed=1).requires_grad_()
    labels, known = shares_of(3, 5, 4), shares_of(3, 6, 4, seed=1, missing=[2])
    known[2] = 0  # an image whose support has none of its labels
    value = L.in_context(query, support, labels, known, 0.3)
    others = [x.detach().clone().requires_grad_() for x in (query, support)]
    want = by_hand.in_context(*others, labels, known, 0.3)
    torch.testing.assert_close(value, want)
    value.backward(), want.backward()
    torch.testing.assert_close([query.grad, support.grad], [x.grad for x in others])
    assert not query.grad[2].any()
    leaves = [x.detach().requires_grad_() for x in (query, support)]
    assert torch.autograd.gradcheck(lambda q, s: L.in_context(q, s, labels, known, 0.3), leaves)


def test_votes_of_equal_neighbours_and_of_the_right_one():
    labels = torch.eye(3, dtype=torch.float64)[None]
    alike = torch.ones(1, 3, 2, dtype=torch.float64)
    value = float(L.in_context(alike, alike, labels, labels, 0.07))
    assert value == pytest.approx(math.log(3))
    apart = torch.eye(3, dtype=torch.float64)[None]
    assert L.in_context(apart, apart, labels, labels, 0.05) < 1e-7
    # Candidates that have none of the labels cost: half of the votes go there.
    twice = torch.cat([apart, apart], 1), torch.cat([labels, 0 * labels], 1)
    assert float(L.in_context(apart, twice[0], labels, twice[1], 0.05)) == pytest.approx(math.log(2))


@pytest.mark.parametrize('temperature', [0.03, 0.07])
def test_the_wrong_neighbour_has_a_gradient_in_float32(temperature):
    query = torch.tensor([[[1.0, 0.1]]], requires_grad=True)
    support, known = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]]), torch.tensor([[[0.0], [1.0]]])
    value = L.in_context(query, support, torch.ones(1, 1, 1), known, temperature)
    value.backward()
    assert value.isfinite() and query.grad.abs().sum() > 0.1


def test_no_labels_at_all():
    query = draw(2, 3, 4).requires_grad_()
    value = L.in_context(query, draw(2, 3, 4, seed=1), torch.zeros(2, 3, 2), torch.zeros(2, 3, 2), 0.1)
    value.backward()
    assert value == 0 and not query.grad.any()


def test_labels_in_another_order():
    labels, ids = shares_of(2, 3, 4), torch.tensor([[5, 3, 5, -1], [1, 2, 3, 4]])
    wanted = torch.tensor([[3, 5, -1], [9, 4, 1]])
    got = labels_in(labels, ids, wanted)
    for b, m, j in product(range(2), range(3), range(3)):
        same = [k for k in range(4) if ids[b, k] == wanted[b, j] >= 0]
        torch.testing.assert_close(got[b, m, j], labels[b, m, same].sum())


def compared(images=3, units=4, dim=5, slots=3):
    """A comparison of labelled units; of the second image nothing is labelled."""
    query, key = draw(images, units, dim).requires_grad_(), draw(images, units + 1, dim, seed=1)
    ids = torch.tensor([[0, 1, -1], [-1, -1, -1], [2, 0, 1]])[:images, :slots]
    other = ids.flip(1)
    labels = shares_of(images, units, slots) * (ids >= 0)[:, None]
    known = shares_of(images, units + 1, slots, seed=3) * (other >= 0)[:, None]
    sides = Units(query, labels=labels, label_ids=ids), Units(key, labels=known, label_ids=other)
    batch = Batch.numbered(torch.arange(images))
    return Comparison(*sides, SameSegment()(*sides, batch), batch)


def test_the_rule_names_units_with_a_common_segment():
    c = compared()
    known = labels_in(c.key.labels, c.key.label_ids, c.query.label_ids)
    for b, n, m in product(range(3), range(4), range(5)):
        common = any(c.query.labels[b, n, k] > 0 and known[b, m, k] > 0 for k in range(3))
        assert c.match.mask[b, n, m] == common
    assert not c.match.mask[1].any() and c.match.mask[0].any()


@pytest.mark.parametrize('others', [0, 1, 7])
@pytest.mark.parametrize('shared', [False, True])
def test_the_objective_runs_the_function(others, shared):
    """Of the images that come next; their labels count where ids are names of classes."""
    c = compared()
    value, found = InContext(0.3, others, shared).score(c)
    support, labels = [], []
    for b in range(3):
        chosen = [(b + i) % 3 for i in range(1, min(others, 2) + 1)]
        support.append(torch.cat([c.key.vectors[i] for i in (b, *chosen)]))
        parts = [labels_in(c.key.labels[i], c.key.label_ids[i], c.query.label_ids[b]) for i in (b, *chosen)]
        labels.append(torch.cat([x if shared or i == 0 else 0 * x for i, x in enumerate(parts)]))
    query, support, labels = c.query.vectors, torch.stack(support), torch.stack(labels)
    # Rows of an image without labels are left out, others have none of its labels.
    want = by_hand.in_context(query[[0, 2]], support[[0, 2]], c.query.labels[[0, 2]], labels[[0, 2]], 0.3)
    torch.testing.assert_close(value, want)
    assert 0 <= found['accuracy'] <= 1
    value.backward()
    assert c.query.vectors.grad[0].abs().sum() > 0 and not c.query.vectors.grad[1].any()


def test_an_image_alone_has_itself_as_support():
    c = compared(images=1)
    value, _ = InContext(0.3, others=7).score(c)
    torch.testing.assert_close(value, InContext(0.3, others=0).score(c)[0])


def labelled(count=2, batch=3, slots=4, grid=GRID):
    """Views with masks of segments; the last image has none."""
    views = make_views(batch, count)
    generator = torch.Generator().manual_seed(5)
    found = []
    for _ in range(count):
        masks = torch.rand(batch, slots, grid, grid, generator=generator)
        masks, ids = masks / masks.sum(1, keepdim=True), torch.arange(slots).repeat(batch, 1)
        masks[-1], ids[-1] = 0, -1
        found.append(ViewRegions(torch.zeros(batch, slots, 4), ids, masks))
    views.regions['segments'] = found
    return views


HEAD = dict(units='LabelledCells', matching='SameSegment', pairs=((0, 1), (1, 0)))


@pytest.mark.parametrize('objective', ['InContext', dict(type='InfoNCE', queue=0, batch='image'), 'Cosine'])
def test_heads_of_labelled_cells(objective):
    """The rule goes with other objectives, too: the cells of one segment are each other's answers."""
    head = build(objective=objective, **HEAD).train()
    levels = maps()
    result = score(head, levels, labelled())
    assert result.log['matched'] == pytest.approx(2 / 3)
    gradients = torch.autograd.grad(result.loss, levels)
    assert all(x.isfinite().all() and x[0].any() for x in gradients)


def test_the_head_scores_what_the_function_says():
    head, levels, views = build(objective=dict(type='InContext', others=0), **HEAD), maps(), labelled()
    cells = [x.flatten(2).mT for x in levels]
    marks = [r.masks.flatten(2).mT.double() for r in views.regions['segments']]
    want = [by_hand.in_context(cells[i], cells[1 - i], marks[i], marks[1 - i], 0.07) for i in (0, 1)]
    torch.testing.assert_close(score(head, levels, views).loss, sum(want) / 2, rtol=1e-6, atol=1e-7)


def test_what_does_not_fit_is_said():
    head = build(objective='InContext', **HEAD)
    for make, text in (
        (lambda: InContext(temperature=0), 'temperature must be > 0'),
        (lambda: InContext(others=-1), 'others must be 0 or more'),
        (lambda: build('Cells', 'InContext', 'MostSimilar'), "take units='LabelledCells'"),
        (lambda: build('Cells', 'Cosine', 'SameSegment'), "take units='LabelledCells'"),
        (lambda: score(head, maps(), labelled(grid=5)), r'set LargestMasks\(grid=3\)'),
        (lambda: score(head, maps(), make_views()), "type='LargestMasks'"),
    ):
        with pytest.raises(ValueError, match=text):
            make()
