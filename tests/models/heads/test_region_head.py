"""SCRL's head: regions of both views, images without overlap, RoIAlign under flips."""

import pytest
import torch
from densecl.models.heads.regions import pool_regions

from densecl.models.heads import RegionHead
from densecl.models.losses.functional import region_distances
from densecl.models.pretrainers import MomentumPretrainer
from densecl.structures import Views, cell_centers


def build(**kwargs):
    mlp = dict(type='densecl.MLP', channels=(512, 6))
    head = dict(
        type='densecl.RegionHead',
        projector=mlp,
        predictor=dict(type='densecl.MLP', channels=(6, 6)),
        objective=dict(type='densecl.RegionConsistency'),
        regions=4,
        min_size=16,
        pairs=((0, 1), (1, 0)),
        **kwargs,
    )
    backbone = dict(type='densecl.TorchvisionResNet', arch='resnet18')
    return MomentumPretrainer(backbone=backbone, heads=dict(regions=head)).double().eval()


def views(apart=()):
    """Four images; the crops of those named ``apart`` do not overlap."""
    generator = torch.Generator().manual_seed(0)
    boxes = [torch.tensor([[0.0, 0, 60, 60]]).repeat(4, 1), torch.tensor([[10.0, 20, 90, 80]]).repeat(4, 1)]
    boxes[1][list(apart)] += 100
    images = torch.randn(2, 4, 3, 96, 96, dtype=torch.float64, generator=generator)
    return Views(
        images=list(images),
        boxes=boxes,
        flipped=[torch.tensor([False, True, False, True]), torch.tensor([True, True, False, False])],
        source_sizes=torch.full((4, 2), 200.0),
        indices=torch.arange(4),
        paths=[''] * 4,
        photometric=[None] * 2,
    )


def ramp(boxes, flipped, grid):
    """A map whose cells hold their own place in the image: what a perfect network would see."""
    places = cell_centers(boxes.double(), flipped, grid)
    return places.transpose(1, 2).unflatten(2, grid)


@pytest.mark.parametrize('aligned', [True, False])
def test_the_same_place_is_read_in_both_views(aligned):
    """Exact with cell centres at half cells; the official reading is off where one view is mirrored."""
    crops = torch.tensor([[0.0, 0, 96, 80], [16, 8, 112, 104]])
    boxes = [crop.repeat(60, 1) for crop in crops]
    flipped = [torch.arange(60) % 2 == 0, torch.arange(60) % 3 == 0]
    both = Views([torch.zeros(60, 3, 160, 192)] * 2, boxes, flipped, *[None] * 4)
    head = build(aligned=aligned).heads.regions
    torch.manual_seed(0)
    placed, counted = head.draw(both)
    assert counted.all()
    read = [
        pool_regions(ramp(boxes[v], flipped[v], (20, 24)), placed[v], (160, 192), aligned).view(60, 4, 2)
        for v in (0, 1)
    ]
    # Away from the outermost half cell, where bilinear reading is constant.
    inner = torch.stack([
        (placed[v] > 4).all(-1) & (placed[v][..., 2] < 188) & (placed[v][..., 3] < 156) for v in (0, 1)
    ]).all(0)  # fmt: skip
    assert inner.sum() > 100
    difference = (read[0] - read[1])[inner].abs().amax()
    assert difference < 1e-4 if aligned else difference > 3


def test_loss_is_the_mean_over_both_directions():
    model = build()
    torch.manual_seed(0)
    found = model.loss(views())
    torch.manual_seed(0)
    head, data = model.heads.regions, views()
    placed, _ = head.draw(data)
    rows = {}
    for v in (0, 1):
        for name, encode, projector in (
            ('online', model.encode, head.projector),
            ('target', model.encode_target, model.target.heads['regions']),
        ):
            pooled = pool_regions(encode(data.images[v])[-1], placed[v], (96, 96), True)
            rows[name, v] = projector(pooled)
    want = [
        region_distances(head.predictor(rows['online', q]), rows['target', k]).mean()
        for q, k in ((0, 1), (1, 0))
    ]
    torch.testing.assert_close(found['loss_regions'], sum(want) / 2)
    assert found['regions_overlapping'] == 1
    assert head.embeddings.shape == (16, 6)


def test_images_without_overlap_are_skipped():
    """Loss and gradient are those of the other images alone."""
    model = build()
    torch.manual_seed(0)
    found = model.loss(views(apart=(1, 3)))
    assert found['regions_overlapping'] == 0.5
    found['loss_regions'].backward()
    gradient = model.heads.regions.projector[0].weight.grad.clone()
    noise = views(apart=(1, 3))
    for image in noise.images:
        image[[1, 3]] += 5
    model.zero_grad()
    torch.manual_seed(0)
    other = model.loss(noise)
    other['loss_regions'].backward()
    torch.testing.assert_close(other['loss_regions'], found['loss_regions'])
    torch.testing.assert_close(model.heads.regions.projector[0].weight.grad, gradient)


def test_no_image_overlaps():
    """Zero, and every parameter still gets its (zero) gradient: DistributedDataParallel waits for it."""
    model = build().train()
    found = model.loss(views(apart=(0, 1, 2, 3)))
    found['loss_regions'].backward()
    assert found['loss_regions'] == 0 and found['regions_overlapping'] == 0
    grads = [p.grad for p in model.parameters() if p.requires_grad]
    assert all(g is not None and (g == 0).all() for g in grads)


def test_the_same_seed_draws_the_same():
    model = build()
    losses = []
    for _ in 'ab':
        torch.manual_seed(4)
        losses.append(model.loss(views())['loss_regions'])
    assert torch.equal(*losses)
    assert not torch.equal(model.loss(views())['loss_regions'], losses[0])


def test_two_views_only():
    mlp = dict(type='densecl.MLP', channels=(512, 6))
    with pytest.raises(ValueError, match='compares two views'):
        RegionHead(
            projector=mlp, objective=dict(type='densecl.RegionConsistency'), pairs=((0, 1), (0, 2))
        )
