"""CrIBo: objects of two views, their scores, and neighbours of a memory, by loops."""

import copy

import pytest
import torch
from oracles import cribo as by_hand

from densecl.models.memory import random_bits
from densecl.registry import MODELS
from densecl.structures import cell_centers
from tests.models.heads.units.test_foreground import Rough, three_crops  # noqa: F401, a backbone

K, WIDTH, COUNT, QUEUE = 7, 6, 6, 40
CLUSTERING = dict(position_weight=0.7, sharpness=10.0, rounds=3, iterations=4)


def config(start=0, **objective):
    return dict(
        units=dict(type='JointObjects', count=COUNT, **CLUSTERING),
        projector=dict(
            type='PrototypeProjector',
            channels=(WIDTH, 8, 4),
            prototypes=K,
            weight_norm=True,
            activation='GELU',
        ),
        objective=dict(
            type='NeighbourDistillation', prototypes=K, dim=WIDTH, queue=QUEUE, start=start, **objective
        ),
        pairs=((0, 1), (1, 0)),
    )


def build(**objective):
    torch.manual_seed(0)
    heads = dict(objects=config(**objective))
    model = dict(type='densecl.MomentumPretrainer', backbone=dict(type='Rough'), heads=heads, momentum=0.9)
    model = MODELS.build(dict(model, join_views=True)).double()
    model.init_target()
    with torch.no_grad():  # a teacher of its own
        for p in model.target.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return model.train()


def two_views(step=0, batch=4):
    views = three_crops(step, batch)
    for name in ('images', 'boxes', 'flipped', 'photometric'):
        setattr(views, name, getattr(views, name)[:2])
    views.indices = torch.arange(batch) + 10 * step
    return views


def objects_by_hand(maps, views, step):
    """For each image, its objects: (cells of view 0, cells of view 1)."""
    rows = [torch.cat([m[i].flatten(1).T for m in maps]) for i in range(len(views.indices))]
    places = torch.cat([cell_centers(views.boxes[v], views.flipped[v], (6, 6)) for v in (0, 1)], 1)
    first = random_bits(views.indices, 72, torch.tensor(step)).argsort(1)[:, :COUNT].tolist()
    labels = by_hand.joint_clusters(rows, places.tolist(), first, *CLUSTERING.values())
    found = []
    for image in labels:
        parts = [
            ([i for i in range(36) if image[i] == k], [i for i in range(36) if image[36 + i] == k])
            for k in range(COUNT)
        ]
        found.append([part for part in parts if part[0] and part[1]])
    return found


def loss_by_hand(model, views, step, memory):
    """Loss, how many neighbours agree, the centre's next mean, and what enters the memory."""
    head, teacher = model.heads['objects'], model.target.heads['objects']
    with torch.no_grad():
        maps = [model.target.backbone(views.images[v]) for v in (0, 1)]
    objects = objects_by_hand(maps, views, step)

    def pooled(levels):
        return [
            torch.stack(
                [levels[v][i].flatten(1)[:, part[v]].mean(1) for i, x in enumerate(objects) for part in x]
            )
            for v in (0, 1)
        ]

    theirs, mine = pooled(maps), pooled([model.backbone(views.images[v]) for v in (0, 1)])
    with torch.no_grad():
        targets = [teacher(x) for x in theirs]
    center, total, agreeing = head.objective.center[0], 0.0, 0
    for query, key in ((0, 1), (1, 0)):
        students = head.projector(mine[query])
        same, nearest = [], []
        for i, student in enumerate(students):
            same.append(by_hand.cross_entropy(student, targets[key][i], center, 0.1, 0.04))
            sides = memory or [[], []]
            place, agrees = by_hand.neighbour(i, theirs[key], sides[key], sides[query], theirs[query])
            if agrees:
                with torch.no_grad():
                    target = teacher(sides[key][place][None])[0]
                nearest.append(by_hand.cross_entropy(student, target, center, 0.1, 0.04))
        total = total + (sum(same) / len(same) + sum(nearest) / max(len(nearest), 1)) / 2
        agreeing += len(nearest)
    return total, agreeing, torch.cat(targets).mean(0), theirs


def test_cribo_is_that_of_loops():
    model, memory, seen = build(), None, []
    for step in range(4):
        views, twin = two_views(step), copy.deepcopy(model)
        want, agreeing, mean, entering = loss_by_hand(twin, views, step, memory)
        center = 0.9 * model.heads['objects'].objective.center + 0.1 * mean
        losses = model(views, mode='loss')
        torch.testing.assert_close(losses['loss_objects'], want, rtol=1e-8, atol=1e-10)
        losses['loss_objects'].backward()
        want.backward()
        for (name, p), q in zip(model.named_parameters(), twin.named_parameters(), strict=True):
            if p.requires_grad:
                torch.testing.assert_close(p.grad, q[1].grad, rtol=1e-6, atol=1e-9, msg=name)
                p.grad = None
        torch.testing.assert_close(model.heads['objects'].objective.center, center)
        assert losses['objects_objects'] == len(entering[0]) / 4
        old = memory or [x[:0] for x in entering]
        memory = [torch.cat(pair)[-QUEUE:] for pair in zip(old, entering, strict=True)]
        seen.append(agreeing)
        model.after_optimizer_step()
    assert seen[0] == 0 and sum(seen) > 5
    assert int(model.heads['objects'].objective.queue.enqueued) > QUEUE


def test_an_object_has_cells_in_both_views_and_one_row():
    model, views = build(), two_views()
    _, target = model.branches(views)
    found = model.heads['objects'].units.found(target, views)
    first, second = found.regions['objects']
    assert torch.equal(first.ids, second.ids) and 'objects' not in views.regions
    there = first.ids >= 0
    for region in (first, second):
        assert torch.equal(region.masks.flatten(2).any(2), there)
        assert region.masks.sum(1).max() == 1, 'a cell is of one object'
    assert 0 < there.sum() < there.numel()


def test_neighbours_count_from_their_epoch():
    model = build(start=1)
    model.clock.epoch = 2
    for step in range(4):
        losses = model(two_views(step % 2), mode='loss')
        assert ('objects_neighbours' in losses) == (step >= 2)
        model.after_optimizer_step()
    assert losses['objects_agreeing'] > 0, 'the same images came before'


def test_nothing_in_both_views_and_nothing_remembered():
    model, views = build(), two_views()
    units = model.heads['objects'].units
    units.found = lambda target, views: _without(type(units).found(units, target, views))
    loss = model(views, mode='loss')
    loss['loss_objects'].backward()
    assert loss['loss_objects'] == 0 and loss['objects_agreeing'] == 0
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())
    objective = model.heads['objects'].objective
    assert int(objective.queue.enqueued) == 0 and not objective.center.any()


def _without(views):
    for region in views.regions['objects']:
        region.ids, region.masks = torch.full_like(region.ids, -1), region.masks & False
    return views


def test_a_resumed_memory_goes_on():
    model, other = build(), build()
    for step in range(2):
        model(two_views(step), mode='loss')
        model.after_optimizer_step()
    other.load_state_dict(model.state_dict())
    other.set_steps(int(model.step))
    losses = [m(two_views(2), mode='loss')['loss_objects'] for m in (model, other)]
    assert torch.equal(*losses)
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name


def test_parts_of_a_step_are_remembered_as_one():
    """The objects of one part, then of the other; costs are scaled over a part: clusters are its own."""
    parts, alone = build(), []
    for place in (slice(0, 2), slice(2, 4)):
        views = two_views()
        for name in ('images', 'boxes', 'flipped'):
            setattr(views, name, [x[place] for x in getattr(views, name)])
        views.source_sizes, views.indices = views.source_sizes[place], views.indices[place]
        parts.ends_step = place.start == 2
        parts(views, mode='loss')
        part = build()
        part(views, mode='loss')
        alone.append(part.heads['objects'].objective.queue)
    queue = parts.heads['objects'].objective.queue
    assert all(int(each.enqueued) > 4 for each in alone)
    expected = torch.cat([each.keys[: int(each.enqueued)] for each in alone])
    assert int(queue.enqueued) == len(expected) <= QUEUE
    assert torch.equal(queue.keys[: len(expected)], expected)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    model = build().float()
    for step in range(2):
        views = two_views(step)
        views.images = [x.float() for x in views.images]
        with torch.autocast('cpu', dtype):
            loss = model(views, mode='loss')['loss_objects']
        assert loss.dtype == torch.float32 and loss.isfinite()
        loss.backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
        model.after_optimizer_step()


def test_wrong_settings_are_named():
    for units, text in (
        (dict(count=0), 'count, rounds and iterations'),
        (dict(sharpness=0), 'sharpness > 0'),
    ):
        with pytest.raises(ValueError, match=text):
            MODELS.build(dict(type='densecl.JointObjects', **units))
    model = build()
    model.heads['objects'].units.count = 100
    with pytest.raises(ValueError, match='count=100 clusters of 72 cells'):
        model(two_views(), mode='loss')
    model = build()
    model.heads['objects'].pairs = model.heads['objects'].pairs[:1]
    with pytest.raises(ValueError, match=r'give pairs=\(\(0, 1\), \(1, 0\)\)'):
        model(two_views(), mode='loss')
