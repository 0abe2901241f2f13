"""Proposals of known boxes as units: which are taken, AlignDet's loss against loops, what is not there."""

import copy

import pytest
import torch
from oracles import detections
from torch import nn

from densecl.models.heads.units.detector_boxes import first_of_id, regions_for
from densecl.models.pretrainers import MomentumPretrainer
from densecl.registry import MODELS
from densecl.structures import ViewRegions
from tests.models.heads.made import views_of

IMAGES, BOXES, SIDE, CHANNELS, PROPOSALS = 3, 5, 64, 6, 3


@MODELS.register_module(name='PyramidOfThree')
class Pyramid(nn.Module):
    """Cells of 8, 16 and 32 px, no batch statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(3, CHANNELS, s, stride=s) for s in (8, 16, 32))

    def forward(self, x):
        return tuple(conv(x).tanh() for conv in self.convs)


def config(norm=None, **objective):
    contrast = dict(
        type='densecl.InfoNCE', temperature=0.5, queue=0, batch='units+queries', form='apart', mean='weights'
    )
    contrast |= objective
    return dict(
        units=dict(
            type='densecl.DetectorBoxes', levels=(0, 1), thresholds=(20, 64), bins=3, proposals=PROPOSALS
        ),
        matching=dict(type='densecl.SameId', share_repeats=True),
        projector=dict(
            type='densecl.DetectorHeads',
            rpn_head=dict(
                type='mmdet.RPNHead',
                in_channels=CHANNELS,
                feat_channels=5,
                anchor_generator=dict(
                    type='AnchorGenerator', scales=[2], ratios=[0.5, 1.0, 2.0], strides=[8, 16, 32]
                ),
                bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_stds=[1.0] * 4),
            ),
            box_head=dict(
                type='mmdet.ConvFCBBoxHead',
                num_shared_convs=1,
                num_shared_fcs=1,
                conv_out_channels=8,
                in_channels=CHANNELS,
                fc_out_channels=9,
                roi_feat_size=3,
                norm_cfg=norm,
            ),
            channels=(9, 9, 7),
        ),
        objective=dict(
            type='densecl.Sum', objectives=[contrast, dict(type='densecl.BoxRegression', samples=32)]
        ),
    )


def pretrainer(**kwargs):
    torch.manual_seed(0)
    model = MomentumPretrainer(
        dict(type='densecl.PyramidOfThree'), dict(objects=config(**kwargs)), momentum=0.9
    )
    model.init_weights()
    projector = model.heads['objects'].projector
    for parameter in projector.rpn_head.parameters():
        nn.init.normal_(parameter, std=0.1)  # proposals unlike the anchors
    model.init_target()
    return model.double().train()


def batch(seed=0):
    """Boxes of two views; in the second image an id is there twice and another not at all."""
    g = torch.Generator().manual_seed(seed)
    ids = torch.tensor([[5, 7, 8, 9, 11], [3, 3, -1, 4, 6], [0, 1, 2, 3, 4]])
    corner = torch.rand(IMAGES, BOXES, 2, generator=g) * SIDE * 0.6
    sides = torch.rand(IMAGES, BOXES, 2, generator=g) * SIDE * 0.5 + 8
    first = torch.cat([corner, (corner + sides).clamp(max=SIDE)], -1)
    first[1, 1] = first[1, 0]
    second = first[..., [2, 1, 0, 3]] * torch.tensor([-1.0, 1, -1, 1]) + torch.tensor([SIDE, 0.0, SIDE, 0])
    images = torch.randn(2, IMAGES, 3, SIDE, SIDE, generator=g, dtype=torch.float64)
    regions = [ViewRegions(first, ids), ViewRegions(second, ids)]
    return views_of(list(images), regions=dict(objects=regions))


def read(model, views):
    """Online and target records as the head sees them."""
    online, target = model.branches(views)
    head = model.heads['objects']
    queries = head.read(online, head.projector, views, [0])[0]
    return queries, head.read(target, model.target_projector('objects'), views, [1])[1]


@pytest.mark.parametrize('count', [0, 2, 50])
def test_which_proposals_are_taken(count):
    g = torch.Generator().manual_seed(count)
    boxes = torch.tensor([[[0.0, 0, 20, 20], [10, 10, 40, 30], [0, 0, 21, 20], [30, 30, 60, 60]]])
    there = torch.tensor([[True, True, False, True]])
    proposals = boxes[:, [0, 1, 2, 0, 1, 1, 0]].repeat(1, 3, 1)
    proposals = proposals + torch.randint(-4, 5, proposals.shape, generator=g)
    scores = torch.randn(1, proposals.shape[1], generator=g)
    regions, own, valid = regions_for(boxes, there, scores, proposals, count, 0.5)
    kept = [0, 1, 3]
    want = detections.proposals_of(
        boxes[0, kept].tolist(), scores[0].tolist(), proposals[0].tolist(), count, 0.5
    )
    assert regions.shape == (1, 4 * (1 + count), 4) and not regions[~valid].any()
    assert own[0].tolist() == sum([[k] * (1 + count) for k in range(4)], [])
    for k in range(4):
        mine = slice(k * (1 + count), (k + 1) * (1 + count))
        got = regions[0, mine][valid[0, mine]]
        rows = [boxes[0, k], *proposals[0, want[kept.index(k)]]] if k in kept else []
        assert len(got) == len(rows) and all(torch.equal(a, b) for a, b in zip(got, rows, strict=True))
    assert count == 0 or (len(want[0]) > 0 and len(want[2]) == 0)


def test_first_of_each_id():
    ids = torch.tensor([[3, 3, -1, 4, 3, -1]])
    assert first_of_id(ids).tolist() == [[True, False, False, True, False, False]]


def test_contrast_against_loops():
    model, views = pretrainer(), batch()
    logged = model.loss(views)
    query, key = read(model, views)
    sides = []
    for units in (query, key):
        rows = [(i, r) for i in range(IMAGES) for r in range(units.ids.shape[1]) if units.valid[i, r]]
        sides += [[units.vectors[i, r] for i, r in rows], [(i, int(units.ids[i, r])) for i, r in rows]]
    assert len(set(sides[1])) == 13 and len(sides[1]) > 20  # some have proposals, some have none
    want = detections.contrast(*sides, 0.5)
    torch.testing.assert_close(logged['objects_InfoNCE'], want.detach())
    total = want + logged['objects_BoxRegression']
    torch.testing.assert_close(logged['loss_objects'].detach(), total.detach())


def test_gradient_of_the_contrast():
    model, views = pretrainer(), batch()
    contrast = model.heads['objects'].objective.objectives[0]
    model.heads['objects'].objective = contrast
    parameters = [p for n, p in model.named_parameters() if p.requires_grad]
    got = torch.autograd.grad(model.loss(views)['loss_objects'], parameters, allow_unused=True)
    query, key = read(model, views)
    sides = []
    for units in (query, key):
        rows = [(i, r) for i in range(IMAGES) for r in range(units.ids.shape[1]) if units.valid[i, r]]
        sides += [[units.vectors[i, r] for i, r in rows], [(i, int(units.ids[i, r])) for i, r in rows]]
    want = torch.autograd.grad(detections.contrast(*sides, 0.5), parameters, allow_unused=True)
    assert sum(g is not None for g in got) > 8
    for mine, theirs in zip(got, want, strict=True):
        assert (mine is None) == (theirs is None)
        if mine is not None:
            torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-10)


def test_all_of_the_detector_learns():
    model, views = pretrainer(), batch()
    model.loss(views)['loss_objects'].backward()
    own = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    assert all(g is not None and g.isfinite().all() and g.any() for g in own.values()), own.keys()
    before = copy.deepcopy(model.target.heads['objects'].state_dict())
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1).step()
    model.after_optimizer_step()
    mine = model.heads['objects'].projector.state_dict()
    for name, value in model.target.heads['objects'].state_dict().items():
        torch.testing.assert_close(value, 0.9 * before[name] + 0.1 * mine[name])


@pytest.mark.parametrize('norm', [None, dict(type='BN', requires_grad=True)])
def test_boxes_that_are_not_there_change_nothing(norm):
    """The third of the second image, and the repeated one: wherever they lie."""
    found = []
    for box in ([1.0, 2, 20, 21], [3.0, 0, 60, 50]):
        model, views = pretrainer(norm=norm), batch()
        for regions in views.regions['objects']:
            regions.boxes[1, 1:3] = torch.tensor(box)
        loss = model.loss(views)['loss_objects']
        found.append([loss, *torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad])])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize('dtype', [None, torch.bfloat16, torch.float16])
def test_an_image_without_boxes(dtype):
    """Its anchors are background; the others' losses are finite, and all of it without any box, too."""
    for empty in ([1], [0, 1, 2]):
        model, views = pretrainer(norm=dict(type='BN', requires_grad=True)).float(), batch()
        views.images = [x.float() for x in views.images]
        for regions in views.regions['objects']:
            regions.ids[empty] = -1
            regions.boxes[empty] = 0.0
        with torch.autocast('cpu', dtype or torch.float16, enabled=dtype is not None):
            loss = model.loss(views)['loss_objects']
        loss.backward()
        assert loss.dtype == torch.float32 and loss.isfinite()
        gradients = [p.grad for p in model.parameters() if p.requires_grad]
        assert all(g is not None and g.isfinite().all() for g in gradients)
        assert model.heads['objects'].projector.rpn_head.rpn_cls.weight.grad.any()


def test_half_precision_is_near():
    losses = []
    for enabled in (False, True):
        model, views = pretrainer().float(), batch()
        views.images = [x.float() for x in views.images]
        with torch.autocast('cpu', torch.bfloat16, enabled=enabled):
            losses.append(model.loss(views)['loss_objects'].detach())
    torch.testing.assert_close(*losses, rtol=0.05, atol=0.0)


def test_mistakes_are_told():
    head = dict(type='densecl.Head', objective='densecl.BoxRegression')
    with pytest.raises(ValueError, match='proposals must be at least 0'):
        MODELS.build(dict(type='densecl.DetectorBoxes', proposals=-1))
    with pytest.raises(ValueError, match=r"needs a projector of the head's own.*'DetectorHeads'"):
        MODELS.build(head | dict(units='densecl.DetectorBoxes'))
    with pytest.raises(ValueError, match="needs what a detector's heads say"):
        MODELS.build(head | dict(units='densecl.Boxes'))
