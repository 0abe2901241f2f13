"""Cells of a map as units: DenseCL written out cell by cell."""

import copy

import pytest
import torch
import torch.nn.functional as F
from oracles import self_distilled as by_hand

from densecl.models.heads.units import Cells
from tests.models.heads.made import CHANNELS, DIM, Fixed, build, make_views, maps, score, step

CONV = dict(type='densecl.ConvMLP', channels=(CHANNELS, 7, DIM))
DENSECL = dict(type='densecl.InfoNCE', temperature=0.2, queue=11, dim=DIM)
SIMILAR = dict(type='densecl.MostSimilar', of='features')


def cells(objective=DENSECL, matching=SIMILAR, grid=None, **kwargs):
    units = dict(type='densecl.Cells', grid=grid)
    return build(units, objective, matching, projector=CONV, **kwargs)


def draw(height, width, batch=3):
    shape = batch, CHANNELS, height, width
    return [torch.randn(shape, dtype=torch.float64).requires_grad_() for _ in range(2)]


def test_densecl():
    """Matching on backbone features, contrast on projections, queue of pooled projected keys."""
    head, target = cells(), cells().projector
    before = head.objective.queue.keys.clone()
    a, b = levels = draw(2, 3)
    result = step(head, levels, make_views(), target)
    q, k = head.projector(a), target(b).detach()
    queries, positives = [], []
    for image in range(3):
        for i in range(6):
            y, x = divmod(i, 3)
            cosines = [
                F.cosine_similarity(a[image, :, y, x], b[image, :, j // 3, j % 3], dim=0) for j in range(6)
            ]
            best = int(torch.stack(cosines).argmax())
            queries.append(q[image, :, y, x])
            positives.append(k[image, :, best // 3, best % 3])
    queries, positives = (F.normalize(torch.stack(x), dim=1) for x in (queries, positives))
    logits = torch.cat([(queries * positives).sum(1, keepdim=True), queries @ before.T], 1) / 0.2
    want = F.cross_entropy(logits, torch.zeros(18, dtype=torch.int64))
    torch.testing.assert_close(result.loss, want, rtol=0, atol=1e-9)
    wanted = [*head.projector.parameters(), a]
    for x, y in zip(*(torch.autograd.grad(loss, wanted) for loss in (result.loss, want)), strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=1e-9)
    loss = score(head, levels, make_views(), target).loss
    assert torch.autograd.grad(loss, b, allow_unused=True)[0] is None
    # one key an image: pooled first, normalised after
    pooled = F.normalize(k.mean((2, 3)), dim=1)
    torch.testing.assert_close(head.objective.queue.keys, torch.cat([pooled, before[3:]]))


def test_matching_does_not_look_at_projections():
    """Backbone maps that agree decide, even where the projections disagree."""
    head, target = cells('densecl.Cosine'), cells().projector
    order = torch.tensor([2, 0, 3, 1])
    a = draw(2, 2)[0].detach()
    b = a.flatten(2)[:, :, order].view_as(a)
    query, key = (F.normalize(module(a), dim=1) for module in (head.projector, target))
    want = -(query * key).sum(1).mean()  # a cell's answer is the same cell, wherever it lies in b
    torch.testing.assert_close(score(head, [a, b], make_views(), target).loss, want)
    other = cells('densecl.Cosine', dict(SIMILAR, of='projections'))
    other.load_state_dict(head.state_dict())
    assert not torch.allclose(score(other, [a, b], make_views(), target).loss, want)


def test_a_grid_pools_features_and_projections_alike():
    head = cells(grid=2)
    plain, target = cells(), cells().projector
    plain.load_state_dict(copy.deepcopy(head.state_dict()))
    levels = draw(4, 4)
    small = [F.adaptive_avg_pool2d(x, 2) for x in levels]
    first, second = step(head, levels, make_views(), target), step(plain, small, make_views(), target)
    torch.testing.assert_close(first.loss, second.loss)
    torch.testing.assert_close(head.objective.queue.keys, plain.objective.queue.keys)
    assert not torch.allclose(first.loss, score(plain, levels, make_views(), target).loss)


def test_the_record_is_row_by_row_and_knows_its_place():
    predictor = dict(type='densecl.ConvMLP', channels=(DIM, DIM))
    head, views = cells(predictor=predictor), make_views()
    a, _ = levels = draw(2, 3)
    units = head.read(Fixed(*levels), head.projector, views, {0}, {0})[0]
    z = head.projector(a)
    p = head.predictor(z)
    for y in range(2):
        for x in range(3):
            row = 3 * y + x
            torch.testing.assert_close(units.vectors[:, row], z[:, :, y, x])
            torch.testing.assert_close(units.predicted[:, row], p[:, :, y, x])
            torch.testing.assert_close(units.features[:, row], a[:, :, y, x].detach())
    torch.testing.assert_close(units.pooled, z.mean((2, 3)))
    torch.testing.assert_close(units.pooled_predicted, p.mean((2, 3)))
    assert not units.features.requires_grad and units.valid is None and units.ids is None
    place = units.place
    assert place.grid == (2, 3) and place.size == (24, 24) and place.boxes is None
    assert place.crop is views.boxes[0] and place.flipped is views.flipped[0]
    assert place.frame.tolist() == [[100, 100]] * 3  # width, height


def test_width_comes_before_height_in_the_frame():
    views = make_views()
    views.source_sizes = torch.tensor([[200.0, 300.0]] * 3)
    head = cells()
    assert head.read(Fixed(*maps()), head.projector, views, {1})[1].place.frame.tolist() == [[300, 200]] * 3


@pytest.mark.parametrize('size', [6, 7])
def test_gram_of_a_map_of_another_size(size):
    """The frozen target sees a larger view; its map is read bicubically, without antialiasing (DINOv3)."""
    units = dict(type='densecl.Cells', grid=3, resize='bicubic')
    head = build(units, 'densecl.Gram', 'densecl.SameRow')
    student, teacher = draw(3, 3)[0], draw(size, size)[0].detach()
    found = score(head, [student, teacher], make_views())
    read = torch.stack([torch.stack([by_hand.bicubic(m, 3) for m in image]) for image in teacher])
    want = by_hand.gram(*(x.flatten(2).mT for x in (student, read)))
    torch.testing.assert_close(found.loss, want, rtol=0, atol=1e-9)
    gradients = [torch.autograd.grad(loss, student)[0] for loss in (found.loss, want)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-9)


def test_a_map_that_has_the_grid_is_left_as_it_is():
    for resize in ('average', 'bicubic'):
        units, (level, _) = Cells(grid=3, resize=resize), draw(3, 3)
        assert units.inputs(Fixed(level), None, 0) is level
    half = Cells(grid=3, resize='bicubic').inputs(Fixed(draw(6, 6)[0].half()), None, 0)
    assert half.dtype == torch.float16
    with pytest.raises(ValueError, match="Cells: resize must be 'average' or 'bicubic', got 'nearest'"):
        Cells(resize='nearest')
