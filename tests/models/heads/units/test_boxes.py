"""Boxes as units: levels, and the loss of SoCo against loops in float64."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.ops import roi_align

from densecl.models.heads.units import assign_levels
from densecl.models.pretrainers import MomentumPretrainer, SharedPretrainer
from densecl.registry import MODELS
from densecl.structures import ViewRegions
from tests.models.heads.made import Fixed, views_of
from tests.models.heads.made import build as build_head

BATCH, COUNT, CHANNELS = 3, 4, 6
SIZES = (64, 64, 32)
THRESHOLDS = (10, 20, 40)
PLAIN = dict(type='densecl.InfoNCE', queue=0, batch='keys')
LEVELS = dict(type='densecl.Boxes', levels=(0, 1, 2), thresholds=THRESHOLDS, bins=3)


@MODELS.register_module()
class ThreeLevels(nn.Module):
    """Cells of 4, 8 and 16 px, no batch statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(3, CHANNELS, s, stride=s) for s in (4, 8, 16))

    def forward(self, x):
        return tuple(conv(x).tanh() for conv in self.convs)


def random_boxes(*shape, size=64.0):
    corner = torch.rand(*shape, 2, dtype=torch.float64) * size * 0.7
    sides = torch.rand(*shape, 2, dtype=torch.float64) * size
    return torch.cat([corner, (corner + sides + 1).clamp(max=size)], -1)


def batch():
    """Ids differ in order from view to view, some are repeated, some are in one view only or no object."""
    torch.manual_seed(0)
    ids = [
        torch.tensor([[5, 7, 7, 9], [1, 2, 3, 4], [8, 8, 8, 8]]),
        torch.tensor([[7, 5, 7, 11], [4, 3, 2, 1], [8, 8, 8, 8]]),
        torch.tensor([[9, -1, 5, -1], [1, -1, 20, 2], [8, 8, 8, 8]]),
    ]
    boxes = [random_boxes(BATCH, COUNT, size=s) for s in SIZES]
    return views_of(
        [torch.randn(BATCH, 3, s, s, dtype=torch.float64) for s in SIZES],
        regions=dict(objects=[ViewRegions(b, i) for b, i in zip(boxes, ids, strict=True)]),
    )


def config(**options):
    settings = dict(
        units=LEVELS,
        projector=dict(
            type='densecl.BoxProjector', in_channels=CHANNELS, convs=2, conv_channels=8, fc=10,
            pool_size=3, channels=(10, 12, 5), norm=True, bias=True,
        ),
        predictor=dict(type='densecl.MLP', channels=(5, 12, 5), norm=True, bias=True),
        matching='SameId',
        objective=dict(type='densecl.Cosine', mean='images'),
        pairs=((0, 1), (1, 0), (0, 2), (2, 0)),
        loss_weight=8.0,
    )  # fmt: skip
    return settings | options


def build(kind=MomentumPretrainer, heads=None, **options):
    torch.manual_seed(1)
    model = kind(
        backbone=dict(type='densecl.ThreeLevels'),
        heads=heads or dict(objects=config(**options)),
        channels_last=False,
    )
    if kind is MomentumPretrainer:
        model.init_weights()
        for p in model.target.parameters():  # apart from the online branch
            p.data += 0.1 * torch.randn_like(p)
    return model.double().train()


def level_of(box, thresholds):
    """The rule, one box at a time."""
    size = math.sqrt((box[2] - box[0]) * (box[3] - box[1]))
    return next((i for i, t in enumerate(thresholds) if size <= t), len(thresholds) - 1)


@pytest.mark.parametrize('thresholds', [(48, 96, 192, 224), (20, 41), (100,)])
def test_levels_equal_brute_force(thresholds):
    boxes = random_boxes(2000, 3, size=260)
    boxes[:1000] = boxes[:1000].round()
    expected = [[level_of(b, thresholds) for b in row] for row in boxes.tolist()]
    assert assign_levels(boxes, thresholds).tolist() == expected
    assert assign_levels(boxes.float()[:1000], thresholds).tolist() == expected[:1000]  # whole pixels


def test_levels_at_and_beyond_the_thresholds():
    sides = [(48, 48), (48, 48.01), (32, 72), (96, 96), (64, 144.5), (192, 192), (193, 192), (224, 224),
             (300, 300), (0, 50), (5, -3)]  # fmt: skip
    boxes = torch.tensor([[7.0, 9, 7 + w, 9 + h] for w, h in sides])
    assert assign_levels(boxes).tolist() == [0, 1, 0, 1, 2, 2, 3, 3, 3, 0, 0]
    assert assign_levels(boxes).dtype == torch.int64


def soco(model, views, thresholds=THRESHOLDS):
    """-2 mean cosine of the pairs of equal ids, summed over directions and pairs of views; loops."""
    head, sides, objects = model.heads['objects'], {}, views.regions['objects']
    for side in ('online', 'target'):
        encode = model.backbone if side == 'online' else model.target.backbone
        projector = head.projector if side == 'online' else model.target.heads['objects']
        for v, image in enumerate(views.images):
            levels, pooled = encode(image), []
            for b in range(BATCH):
                for box in objects[v].boxes[b]:
                    level = levels[level_of(box.tolist(), thresholds)]
                    scale = level.shape[-1] / image.shape[-1]
                    roi = torch.cat([box.new_tensor([b]), box * scale])[None]
                    pooled.append(roi_align(level, roi, 3, aligned=True))
            vectors = projector(torch.cat(pooled))
            sides[side, v] = vectors.view(BATCH, COUNT, -1)
    total = 0.0
    for q, k in ((0, 1), (1, 0), (0, 2), (2, 0)):
        predictions = head.predictor(sides['online', q].flatten(0, 1)).view(BATCH, COUNT, -1)
        keys = sides['target', k].detach()
        for b in range(BATCH):
            cosines = [
                F.cosine_similarity(predictions[b, i], keys[b, j], dim=0)
                for i in range(COUNT)
                for j in range(COUNT)
                if objects[q].ids[b, i] == objects[k].ids[b, j] != -1
            ]
            total = total - 2 * sum(cosines) / len(cosines) / BATCH
    return total


def test_soco_s_loss_and_gradients_equal_loops():
    views = batch()
    gradients, losses = [], []
    for step in (lambda m: m(views, mode='loss')['loss_objects'], lambda m: soco(m, views)):
        model = build()
        loss = step(model)
        loss.backward()
        losses.append(loss)
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.requires_grad})
        assert all(p.grad is None for p in model.target.parameters())
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-12, atol=1e-12)
    assert -8 < losses[0] < 0
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-9, atol=1e-11)
    assert all(g.abs().max() > 0 for n, g in gradients[0].items() if n.startswith('backbone'))


def test_levels_of_one_object_differ_between_views():
    """Otherwise the tests around would say little."""
    levels = [assign_levels(objects.boxes, THRESHOLDS) for objects in batch().regions['objects']]
    assert all(len(level.unique()) == 3 for level in levels[:2])
    assert (levels[0][2] != levels[1][2]).any()


def test_every_level_pooled_equals_the_assigned_one_with_fixed_statistics():
    views = batch()
    one, every = build(), build(units=dict(LEVELS, every_level=True))
    trained = [m(views, mode='loss')['loss_objects'] for m in (one, every)]
    assert not torch.isclose(*trained)  # batch statistics see boxes on all levels
    counters = [m.heads['objects'].projector.box_head.shared_convs[0].bn for m in (one, every)]
    assert [int(bn.num_batches_tracked) for bn in counters] == [3, 9]  # views, times levels
    every.load_state_dict(one.state_dict())
    fixed = [m.eval()(views, mode='loss')['loss_objects'] for m in (one, every)]
    torch.testing.assert_close(*fixed, rtol=1e-12, atol=1e-12)


def test_an_id_of_minus_one_matches_nothing():
    views, model = batch(), build()
    for v in (0, 1):
        views.regions['objects'][v].ids[:] = -1
    result = model(views, mode='loss')
    assert result['loss_objects'] == 0 and result['objects_matched'] == 0
    rows, valid = model.watched['objects']  # of view 0
    assert rows.shape == (BATCH * COUNT, 5) and not valid.any()


def test_share_of_objects_with_an_answer():
    views, model = batch(), build()
    found = [objects.ids.tolist() for objects in views.regions['objects']]
    shares = [
        sum(i in found[k][b] and i >= 0 for b in range(BATCH) for i in found[q][b]) / BATCH / COUNT
        for q, k in ((0, 1), (1, 0), (0, 2), (2, 0))
    ]
    assert len(set(shares)) > 1
    assert model(views, mode='loss')['objects_matched'].item() == pytest.approx(sum(shares) / 4)


def test_each_object_stands_against_the_pooled_objects_of_other_images():
    views = batch()
    ids = views.regions['objects'][0].ids = torch.tensor([[5, 7, 6, 9], [1, 2, 3, 4], [8, 10, 11, 12]])
    for v in (1, 2):
        views.regions['objects'][v].ids = ids[:, torch.tensor([2, 3, 1, 0])]
    objective = dict(PLAIN, temperature=0.3)
    model = build(objective=objective, pairs=((0, 1),), loss_weight=1.0, predictor=None).eval()
    loss = model(views, mode='loss')['loss_objects']
    head, (online, target) = model.heads['objects'], model.branches(views)
    raw = [
        head.read(branch, projector, views, {v})[v].vectors
        for v, branch, projector in ((0, online, head.projector), (1, target, model.target.heads['objects']))
    ]
    query, keys = (F.normalize(x, dim=-1) for x in raw)
    images, total = F.normalize(raw[1].mean(1), dim=-1), 0.0
    for b in range(BATCH):
        answers, others = views.regions['objects'][1].ids[b].tolist(), [i for i in range(BATCH) if i != b]
        for k, wanted in enumerate(ids[b].tolist()):
            positive = query[b, k] @ keys[b, answers.index(wanted)] / 0.3
            logits = torch.stack([positive, *(query[b, k] @ images[o] / 0.3 for o in others)])
            total = total + logits.logsumexp(0) - positive
    torch.testing.assert_close(loss, total / BATCH / COUNT, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ('matching', 'objective'),
    [
        ('SameId', dict(type='densecl.Cosine')),
        ('SameId', dict(type='densecl.InfoNCE', queue=16, dim=5)),
        ('SameRow', dict(type='densecl.InfoNCE', queue=0, batch='units')),
    ],
    ids=lambda x: x if isinstance(x, str) else x['type'],
)
@pytest.mark.parametrize('kind', [MomentumPretrainer, SharedPretrainer])
def test_objectives_of_the_toolbox_beside_other_heads(kind, matching, objective):
    vectors = dict(type='densecl.MLP', channels=(CHANNELS, 5))
    shared = kind is SharedPretrainer
    heads = dict(
        objects=config(objective=objective, matching=matching, stop_gradient=shared),
        image=dict(projector=vectors, objective=PLAIN),
        dense=dict(
            units='Cells',
            projector=dict(type='densecl.ConvMLP', channels=(CHANNELS, 5)),
            matching='MostSimilar',
            objective=PLAIN,
        ),
    )
    model, views = build(kind, heads), batch()
    losses = model(views, mode='loss')
    sum(losses[f'loss_{name}'] for name in heads).backward()
    assert all(torch.isfinite(losses[f'loss_{name}']) for name in heads)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    model.after_optimizer_step()


def test_the_target_follows_the_box_head():
    model = build()
    mine = model.heads['objects'].projector.box_head.shared_fcs[0].weight
    theirs = model.target.heads['objects'].box_head.shared_fcs[0].weight
    expected = theirs * model.momentum + mine * (1 - model.momentum)
    model.after_optimizer_step()
    torch.testing.assert_close(theirs, expected.detach())


def test_a_level_without_boxes_still_has_gradients():
    """Data-parallel training refuses parameters that are left out."""
    views = batch()
    for objects in views.regions['objects']:
        objects.boxes[..., 2:] = objects.boxes[..., :2] + 2  # all on the finest level
    model = build()
    model(views, mode='loss')['loss_objects'].backward()
    assert all(conv.weight.grad is not None for conv in model.backbone.convs)
    assert model.backbone.convs[2].weight.grad.eq(0).all()


def test_half_precision_pools_in_float32():
    model, views = build().float(), batch()
    views.images = [x.float() for x in views.images]
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss = model(views, mode='loss')['loss_objects']
    assert loss.dtype == torch.float32 and loss.isfinite()


def test_clear_errors():
    views = batch()
    views.regions = {}
    with pytest.raises(ValueError, match=r"view 0 has no regions 'objects'.*type='SelectBoxes'.*it has \[\]"):
        build()(views, mode='loss')
    views = batch()
    views.regions['objects'][1] = None
    with pytest.raises(ValueError, match="view 1 has no regions 'objects'"):
        build()(views, mode='loss')
    with pytest.raises(ValueError, match=r'objective=VICReg compares row with row.*matching=SameId'):
        build(objective=dict(type='densecl.VICReg'))
    with pytest.raises(ValueError, match=r'thresholds must rise.*\(48, 96\) for levels \(0, 1, 2\)'):
        build(units=dict(LEVELS, thresholds=(48, 96)))
    with pytest.raises(ValueError, match='thresholds must rise'):
        build(units=dict(LEVELS, thresholds=(48, 96, 20)))
    with pytest.raises(ValueError, match='units=Boxes wants a level that the backbone does not return'):
        head = build_head(LEVELS)
        head.read(Fixed(torch.zeros(BATCH, CHANNELS, 4, 4)), head.projector, batch(), [0])
    with pytest.raises(ValueError, match='must start with fc=10'):
        build(projector=config()['projector'] | dict(channels=(7, 5)))
