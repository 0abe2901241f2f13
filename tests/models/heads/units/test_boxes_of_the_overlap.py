"""Boxes of the overlap of two views (SCRL): the loss of both directions, images without overlap."""

import pytest
import torch
from torchvision.ops import roi_align

from densecl.models.pretrainers import MomentumPretrainer
from densecl.structures import ViewRegions, boxes_to_view
from tests.models.heads.made import views_of

BATCH, COUNT, SIDE = 4, 3, 96


def build(aligned=True):
    regions = dict(
        units=dict(type='densecl.Boxes', regions='overlap', bins=1, aligned=aligned),
        projector=dict(type='densecl.MLP', channels=(512, 6)),
        predictor=dict(type='densecl.MLP', channels=(6, 6)),
        objective=dict(type='densecl.Cosine', squared=True, mean='counted'),
        pairs=((0, 1), (1, 0)),
    )
    backbone = dict(type='densecl.TorchvisionResNet', arch='resnet18')
    return MomentumPretrainer(backbone=backbone, heads=dict(regions=regions)).double().eval()


def views(apart=()):
    """Boxes of the overlap of both crops; images named ``apart`` have none: id -1, the whole view."""
    generator = torch.Generator().manual_seed(0)
    crops = [torch.tensor([box]).repeat(BATCH, 1) for box in ([0.0, 0, 60, 60], [10.0, 20, 90, 80])]
    flipped = [torch.tensor([False, True, False, True]), torch.tensor([True, True, False, False])]
    near = torch.tensor([10.0, 20]) + 25 * torch.rand(BATCH, COUNT, 2, generator=generator)
    boxes = torch.cat([near, near + 5 + 10 * torch.rand(BATCH, COUNT, 2, generator=generator)], -1)
    ids = torch.arange(COUNT).repeat(BATCH, 1)
    ids[list(apart)] = -1
    found = []
    for crop, flip in zip(crops, flipped, strict=True):
        placed, shown = boxes_to_view(boxes, crop, flip, (SIDE, SIDE))
        assert shown.all()
        placed[list(apart)] = torch.tensor([0.0, 0, SIDE, SIDE])
        found.append(ViewRegions(placed, ids))
    images = torch.randn(2, BATCH, 3, SIDE, SIDE, dtype=torch.float64, generator=generator)
    return views_of(images, crops, flipped, dict(overlap=found))


@pytest.mark.parametrize('aligned', [True, False])
def test_scrl_s_loss_is_the_mean_over_both_directions(aligned):
    """|q - k|^2 of unit vectors, one pair of boxes at a time."""
    model, data = build(aligned), views()
    found, head, rows = model.loss(data), model.heads.regions, {}
    for v in (0, 1):
        for name, encode, projector in (
            ('online', model.encode, head.projector),
            ('target', model.encode_target, model.target.heads['regions']),
        ):
            level = encode(data.images[v])[-1]
            scaled = list(data.regions['overlap'][v].boxes.double() * (level.shape[-1] / SIDE))
            rows[name, v] = projector(roi_align(level, scaled, 1, aligned=aligned).flatten(1))
    total = 0.0
    for q, k in ((0, 1), (1, 0)):
        for prediction, key in zip(head.predictor(rows['online', q]), rows['target', k], strict=True):
            total = total + (prediction / prediction.norm() - key / key.norm()).square().sum()
    torch.testing.assert_close(found['loss_regions'], total / (2 * BATCH * COUNT))
    assert found['regions_matched'] == 1
    assert model.watched['regions'][0].shape == (BATCH * COUNT, 6)  # view 0


def test_images_without_overlap_are_skipped():
    """Loss and gradient are those of the other images alone."""
    model = build()
    found = model.loss(views(apart=(1, 3)))
    assert found['regions_matched'] == 0.5
    found['loss_regions'].backward()
    gradient = model.heads.regions.projector[0].weight.grad.clone()
    noise = views(apart=(1, 3))
    for image in noise.images:
        image[[1, 3]] += 5
    model.zero_grad()
    other = model.loss(noise)
    other['loss_regions'].backward()
    torch.testing.assert_close(other['loss_regions'], found['loss_regions'])
    torch.testing.assert_close(model.heads.regions.projector[0].weight.grad, gradient)
    assert gradient.abs().max() > 0


def test_no_image_overlaps():
    """Zero, and every parameter still gets its (zero) gradient: DistributedDataParallel waits for it."""
    model = build().train()
    found = model.loss(views(apart=(0, 1, 2, 3)))
    found['loss_regions'].backward()
    assert found['loss_regions'] == 0 and found['regions_matched'] == 0
    grads = [p.grad for p in model.parameters() if p.requires_grad]
    assert all(g is not None and (g == 0).all() for g in grads)
