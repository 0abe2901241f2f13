"""Objectness and offsets against loops over all draws of anchors, and against mmdet's RPN and box head."""

from dataclasses import replace

import pytest
import torch
from mmdet.registry import MODELS as DET
from mmdet.utils import register_all_modules as register_mmdet
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from oracles import detections

from densecl.models.losses import BoxRegression
from densecl.models.losses.box_regression import proposal_losses, region_loss, sample_weights
from densecl.structures import Batch, Comparison, Detections, Match, Units

IMAGES, BOXES, ANCHORS, SIZE = 2, 3, 12, 48
ONES, TENTHS = (1.0, 1.0, 1.0, 1.0), (0.1, 0.1, 0.2, 0.2)


def random_boxes(*shape, generator):
    corner = torch.rand(*shape, 2, generator=generator, dtype=torch.float64) * SIZE * 0.6
    sides = torch.rand(*shape, 2, generator=generator, dtype=torch.float64) * SIZE * 0.4 + 4
    return torch.cat([corner, corner + sides], -1)


def found(seed=0, anchors=ANCHORS):
    g = torch.Generator().manual_seed(seed)
    boxes = random_boxes(IMAGES, BOXES, generator=g)
    there = torch.tensor([[True, True, True], [True, False, True]])
    own = torch.arange(BOXES).repeat_interleave(2).expand(IMAGES, -1)
    regions = boxes.repeat_interleave(2, 1) + torch.rand(IMAGES, 2 * BOXES, 4, generator=g)

    def leaf(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64).requires_grad_()

    return Detections(
        boxes=boxes,
        there=there,
        anchors=torch.cat([boxes[0, :2] + 1, random_boxes(anchors - 2, generator=g)]),
        logits=leaf(IMAGES, anchors),
        offsets=leaf(IMAGES, anchors, 4),
        stds=ONES,
        regions=regions,
        own=own,
        region_offsets=leaf(IMAGES, 2 * BOXES, 4),
        region_stds=TENTHS,
    )


def listed(d):
    return [b[t].tolist() for b, t in zip(d.boxes, d.there, strict=True)]


@pytest.mark.parametrize('samples', [5, 100])
@pytest.mark.parametrize('seed', [0, 1, 2])
def test_proposals_equal_the_mean_over_all_draws(seed, samples):
    d = found(seed)
    args = d.anchors.tolist(), listed(d), d.logits, d.offsets, ONES, samples, 0.6, 0.3
    got, want = proposal_losses(d, samples, 0.6, 0.3), detections.drawn_proposal_losses(*args)
    for mine, theirs in zip(got, want, strict=True):
        torch.testing.assert_close(mine, theirs)
        gradients = (torch.autograd.grad(x, (d.logits, d.offsets), allow_unused=True) for x in (mine, theirs))
        for a, b in zip(*gradients, strict=True):
            assert (a is None) == (b is None) and (a is None or a.any())
            if a is not None:
                torch.testing.assert_close(a, b)


def test_more_boxes_than_samples():
    finds, background = torch.zeros(1, 9, dtype=torch.bool), torch.zeros(1, 9, dtype=torch.bool)
    finds[:, :6], background[:, 6:] = True, True
    for samples, want in ((4, [4 / 6] * 6 + [0.0] * 3), (8, [1.0] * 6 + [2 / 3] * 3)):
        torch.testing.assert_close(sample_weights(finds, background, samples), torch.tensor([want]))


def test_regions():
    d = found()
    there = torch.rand(IMAGES, 2 * BOXES, generator=torch.Generator().manual_seed(1)) < 0.7
    terms = []
    for i, r in there.nonzero().tolist():
        wanted = detections.offsets(d.regions[i, r].tolist(), d.boxes[i, d.own[i, r]].tolist(), TENTHS)
        terms.append((d.region_offsets[i, r] - torch.tensor(wanted)).abs().sum())
    got, want = region_loss(d, there), torch.stack(terms).mean()
    torch.testing.assert_close(got, want)
    gradients = [torch.autograd.grad(x, d.region_offsets)[0] for x in (got, want)]
    torch.testing.assert_close(*gradients)
    assert not gradients[0][~there].any()


def test_as_mmdets_rpn_when_all_anchors_are_taken():
    register_mmdet(init_default_scope=False)
    assigner = dict(type='MaxIoUAssigner', pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3)
    sampler = dict(type='RandomSampler', num=9999, pos_fraction=1.0, neg_pos_ub=-1, add_gt_as_proposals=False)
    config = dict(
        type='RPNHead',
        in_channels=4,
        feat_channels=4,
        anchor_generator=dict(type='AnchorGenerator', scales=[2], ratios=[0.5, 1.0, 2.0], strides=[8, 16]),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_stds=[1.0] * 4),
        loss_bbox=dict(type='L1Loss'),
        train_cfg=dict(assigner=assigner, sampler=sampler, allowed_border=-1, pos_weight=-1, debug=False),
    )
    with DefaultScope.overwrite_default_scope('mmdet'):
        head = DET.build(config).double()
    g = torch.Generator().manual_seed(0)
    maps = [torch.randn(IMAGES, 4, n, n, generator=g, dtype=torch.float64) for n in (6, 3)]
    scores, deltas = head(maps)
    d = found()
    instances = [
        InstanceData(bboxes=b[t], labels=t[t].long() * 0) for b, t in zip(d.boxes, d.there, strict=True)
    ]
    metas = [dict(img_shape=(SIZE, SIZE), pad_shape=(SIZE, SIZE))] * IMAGES
    theirs = head.loss_by_feat(scores, deltas, instances, metas)
    anchors = torch.cat(head.prior_generator.grid_priors([(6, 6), (3, 3)], torch.float64, 'cpu'))
    mine = replace(
        d,
        anchors=anchors,
        logits=torch.cat([x.permute(0, 2, 3, 1).flatten(1) for x in scores], 1),
        offsets=torch.cat([x.permute(0, 2, 3, 1).reshape(IMAGES, -1, 4) for x in deltas], 1),
    )
    objectness, distance = proposal_losses(mine, 9999)
    torch.testing.assert_close(objectness.float(), sum(theirs['loss_rpn_cls']).float())
    torch.testing.assert_close(distance.float(), sum(theirs['loss_rpn_bbox']).float())  # float32 there
    assert distance > 0


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
def test_without_any_box_the_anchors_are_background(dtype):
    d = found()
    d.there[:], d.boxes[:], d.regions[:] = False, 0.0, 0.0
    for name in ('boxes', 'anchors', 'logits', 'offsets', 'regions', 'region_offsets'):
        setattr(d, name, getattr(d, name).detach().float().requires_grad_())
    vectors = torch.randn(IMAGES, 2 * BOXES, 5).to(dtype)
    query = Units(vectors, valid=torch.zeros(IMAGES, 2 * BOXES, dtype=torch.bool), detections=d)
    with torch.autocast('cpu', torch.bfloat16, enabled=dtype != torch.float32):
        loss, log = BoxRegression().score(Comparison(query, None, Match(), Batch(torch.arange(IMAGES))))
    loss.backward()
    assert loss > 0 and log['anchor_offsets'] == log['region_offsets'] == 0 and loss == log['objectness']
    assert d.logits.grad.all() and not d.offsets.grad.any() and not d.region_offsets.grad.any()


def test_mistakes_are_told():
    with pytest.raises(ValueError, match='BoxRegression: samples must be at least 1'):
        BoxRegression(samples=0)
    with pytest.raises(ValueError, match='below <= above'):
        BoxRegression(above=0.2)
