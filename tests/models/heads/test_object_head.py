"""Objects as units: levels, correspondence, and SoCo's loss against loops in float64."""

import math

import pytest
import torch
import torch.nn.functional as F
from densecl.models.heads.objects import pool_boxes
from torch import nn
from torchvision.ops import roi_align

from densecl.models.heads import ObjectHead, assign_levels
from densecl.models.pretrainers import MomentumPretrainer, SharedPretrainer
from densecl.registry import MODELS
from densecl.structures import ViewProposals, Views

BATCH, COUNT, CHANNELS = 3, 4, 6
SIZES = (64, 64, 32)
THRESHOLDS = (10, 20, 40)
PLAIN = dict(type='densecl.InfoNCE', queue=0, batch='keys')


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
    return Views(
        images=[torch.randn(BATCH, 3, s, s, dtype=torch.float64) for s in SIZES],
        boxes=[torch.zeros(BATCH, 4)] * 3,
        flipped=[torch.zeros(BATCH, dtype=torch.bool)] * 3,
        source_sizes=torch.ones(BATCH, 2),
        indices=torch.arange(BATCH),
        paths=[''] * BATCH,
        photometric=[None] * 3,
        proposals=[
            ViewProposals(random_boxes(BATCH, COUNT, size=s), i)
            for s, i in zip(SIZES, ids, strict=True)
        ],
    )


def config(**options):
    settings = dict(
        type='densecl.ObjectHead',
        projector=dict(
            type='densecl.BoxProjector', in_channels=CHANNELS, convs=2, conv_channels=8, fc=10,
            pool_size=3, channels=(10, 12, 5), norm=True, bias=True,
        ),
        predictor=dict(type='densecl.MLP', channels=(5, 12, 5), norm=True, bias=True),
        objective=dict(type='densecl.PixelConsistency'),
        levels=(0, 1, 2),
        thresholds=THRESHOLDS,
        pool_size=3,
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


def test_pooling_reads_the_level_in_the_views_pixels():
    """On a map that is linear in the position every bin holds the value at its centre."""
    y, x = torch.meshgrid(*[(torch.arange(16.0).double() + 0.5) * 4] * 2, indexing='ij')
    level = torch.stack([x, y, x + 2 * y])[None].repeat(2, 1, 1, 1)
    boxes = torch.tensor([[[8.0, 12, 40, 24], [10, 10, 13, 52]], [[3, 5, 60, 61], [20, 20, 20, 30]]])
    pooled = pool_boxes(level, boxes, (64, 64), 4)
    for i, (x1, y1, x2, y2) in enumerate(boxes.flatten(0, 1).tolist()[:3]):
        column = x1 + (x2 - x1) * (torch.arange(4) + 0.5) / 4
        row = y1 + (y2 - y1) * (torch.arange(4) + 0.5) / 4
        y, x = torch.meshgrid(row.double(), column.double(), indexing='ij')
        torch.testing.assert_close(pooled[i], torch.stack([x, y, x + 2 * y]))
    assert pooled[3].eq(0).all()  # an empty box


def soco(model, views, thresholds=THRESHOLDS):
    """-2 mean cosine of the pairs of equal ids, summed over directions and pairs of views; loops."""
    head, sides = model.heads['objects'], {}
    for side in ('online', 'target'):
        encode = model.backbone if side == 'online' else model.target.backbone
        projector = head.projector if side == 'online' else model.target.heads['objects']
        for v, image in enumerate(views.images):
            levels, pooled = encode(image), []
            for b in range(BATCH):
                for box in views.proposals[v].boxes[b]:
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
                if views.proposals[q].ids[b, i] == views.proposals[k].ids[b, j] != -1
            ]
            total = total - 2 * sum(cosines) / len(cosines) / BATCH
    return total


def test_loss_and_gradients_equal_loops():
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
    """Otherwise the tests above would say little."""
    views = batch()
    levels = [assign_levels(p.boxes, THRESHOLDS) for p in views.proposals]
    assert all(len(level.unique()) == 3 for level in levels[:2])
    assert (levels[0][2] != levels[1][2]).any()


def test_every_level_pooled_equals_the_assigned_one_with_fixed_statistics():
    views = batch()
    one, every = build(), build(pool='all')
    trained = [m(views, mode='loss')['loss_objects'] for m in (one, every)]
    assert not torch.isclose(*trained)  # batch statistics see boxes on all levels
    counters = [m.heads['objects'].projector.box_head.shared_convs[0].bn for m in (one, every)]
    assert [int(bn.num_batches_tracked) for bn in counters] == [3, 9]  # views, times levels
    every.load_state_dict(one.state_dict())
    fixed = [m.eval()(views, mode='loss')['loss_objects'] for m in (one, every)]
    torch.testing.assert_close(*fixed, rtol=1e-12, atol=1e-12)


def test_an_id_of_minus_one_matches_nothing():
    views = batch()
    head = build().heads['objects']
    views.proposals[0].ids[:] = -1
    views.proposals[1].ids[:] = -1
    model = build()
    result = model(views, mode='loss')
    assert result['loss_objects'] == 0 and result['objects_matched'] == 0
    assert head.embeddings is None and model.heads['objects'].embeddings.shape == (BATCH * COUNT, 5)


def test_rows_give_each_object_one_positive_and_other_images_as_negatives():
    views = batch()
    for v in (1, 2):
        views.proposals[v].ids = views.proposals[0].ids[:, torch.tensor([2, 3, 1, 0])]
    objective = dict(PLAIN, temperature=0.3)
    model = build(
        objective=objective, positives='first', pairs=((0, 1),), loss_weight=1.0, predictor=None
    ).eval()
    loss = model(views, mode='loss')['loss_objects']
    head = model.heads['objects']
    online = head.units(model.branches(views)[0], head.projector, views, [0])[0]
    target = head.units(model.branches(views)[1], model.target.heads['objects'], views, [1])[1]
    query = F.normalize(online.projections[0].view(BATCH, COUNT, -1), dim=-1)
    raw = target.projections[0].view(BATCH, COUNT, -1)
    images, keys = F.normalize(raw.mean(1), dim=-1), F.normalize(raw, dim=-1)
    total = 0.0
    for b in range(BATCH):
        ids, others = views.proposals[1].ids[b].tolist(), [i for i in range(BATCH) if i != b]
        for k, wanted in enumerate(views.proposals[0].ids[b].tolist()):
            positive = query[b, k] @ keys[b, ids.index(wanted)] / 0.3
            logits = torch.stack([positive, *(query[b, k] @ images[o] / 0.3 for o in others)])
            total = total + logits.logsumexp(0) - positive
    torch.testing.assert_close(loss, total / BATCH / COUNT, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    'objective',
    [
        dict(type='densecl.NegativeCosine'),
        dict(type='densecl.InfoNCE', queue=16, dim=5),
        dict(type='densecl.BarlowTwins'),
        dict(type='densecl.VICReg'),
    ],
    ids=lambda o: o['type'],
)
@pytest.mark.parametrize('kind', [MomentumPretrainer, SharedPretrainer])
def test_objectives_of_the_toolbox_beside_other_heads(kind, objective):
    vectors = dict(type='densecl.MLP', channels=(CHANNELS, 5))
    heads = dict(
        objects=config(objective=objective, positives='first', stop_gradient=kind is SharedPretrainer),
        image=dict(type='densecl.ImageHead', projector=vectors, objective=PLAIN),
        dense=dict(
            type='densecl.DenseHead',
            projector=dict(type='densecl.ConvMLP', channels=(CHANNELS, 5)),
            matching=dict(type='densecl.MostSimilar'),
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
    for p in views.proposals:
        p.boxes[..., 2:] = p.boxes[..., :2] + 2  # all on the finest level
    model = build()
    model(views, mode='loss')['loss_objects'].backward()
    assert all(conv.weight.grad is not None for conv in model.backbone.convs)
    assert model.backbone.convs[2].weight.grad.eq(0).all()


def test_clear_errors():
    views = batch()
    views.proposals = None
    with pytest.raises(ValueError, match=r"view 0 has no objects.*SelectProposals"):
        build()(views, mode='loss')
    views = batch()
    views.proposals[1] = None
    with pytest.raises(ValueError, match='view 1 has no objects'):
        build()(views, mode='loss')
    with pytest.raises(ValueError, match=r"InfoNCE scores rows: set positives='first'"):
        build(objective=PLAIN)
    with pytest.raises(ValueError, match=r'has levels=\(...\).*no level'):
        build(level=2)
    with pytest.raises(ValueError, match=r'thresholds must rise.*\(48, 96\)'):
        build(thresholds=(48, 96))
    with pytest.raises(ValueError, match="pool must be 'assigned' or 'all', got 'some'"):
        build(pool='some')
    with pytest.raises(ValueError, match="positives must be 'all' or 'first'"):
        build(positives='one')
    with pytest.raises(ValueError, match='must start with fc=10'):
        build(projector=config()['projector'] | dict(channels=(7, 5)))


def test_half_precision_pools_in_float32():
    model, views = build().float(), batch()
    views.images = [x.float() for x in views.images]
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss = model(views, mode='loss')['loss_objects']
    assert loss.dtype == torch.float32 and loss.isfinite()
    assert isinstance(model.heads['objects'], ObjectHead)
