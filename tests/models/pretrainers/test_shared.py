"""The shared-weight pair: passes, gradients, and the image methods built on it against their formulas."""

import pytest
import torch
from mmcv.cnn.bricks.drop import DropPath
from torch import nn

from densecl.models.losses import functional as L
from densecl.models.pretrainers import Branch, MomentumPretrainer, SharedPretrainer
from densecl.models.pretrainers.momentum import TargetBranch
from densecl.registry import MODELS
from densecl.structures import Views
from tests.models.heads.made import views_of


@MODELS.register_module(force=True)
class CountingConv(nn.Module):
    """A backbone that remembers the batches it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, stride=2)
        self.norm = nn.BatchNorm2d(6)
        self.seen = []

    def forward(self, x):
        self.seen.append(tuple(x.shape))
        return (self.norm(self.conv(x)),)


def batch(sizes=(8, 8), count=4) -> Views:
    generator = torch.Generator().manual_seed(0)
    images = [torch.randn(count, 3, s, s, generator=generator, dtype=torch.float64) for s in sizes]
    return views_of(images)


def head(objective, **kwargs):
    projector = kwargs.pop('projector', dict(type='MLP', channels=(6, 5)))
    return dict(projector=projector, objective=objective, **kwargs)


def build(heads, cls=SharedPretrainer, **kwargs):
    torch.manual_seed(0)
    return cls(backbone=dict(type='CountingConv'), heads=heads, **kwargs).double()


IN_BATCH = dict(type='InfoNCE', queue=0, batch='views', temperature=0.3)
BOTH = ((0, 1), (1, 0))


@pytest.mark.parametrize('join', [False, True])
def test_each_view_is_encoded_once_in_as_few_passes_as_sizes(join):
    model = build(
        dict(a=head(IN_BATCH, pairs=BOTH), b=head(IN_BATCH, pairs=((0, 1), (2, 0), (3, 1)))),
        join_views=join,
    )
    model.loss(batch((8, 8, 6, 6)))
    want = [(8, 3, 8, 8), (8, 3, 6, 6)] if join else [(4, 3, 8, 8)] * 2 + [(4, 3, 6, 6)] * 2
    assert model.backbone.seen == want


def test_views_that_nobody_asks_for_are_not_encoded():
    model = build(dict(a=head(IN_BATCH)), join_views=True)
    model.loss(batch((8, 8, 8, 6)))
    assert model.backbone.seen == [(8, 3, 8, 8)]


def test_joined_views_share_batch_statistics_and_come_back_in_order():
    views = batch()
    model = build(dict(a=head(IN_BATCH)), join_views=True)
    both = torch.cat(views.images)
    want = model.backbone(both)[0].chunk(2)
    branch = Branch(model.encode, views, {0, 1})
    for view in (1, 0):
        torch.testing.assert_close(branch[view][0], want[view])


def test_simclr_equals_nt_xent_with_its_gradient():
    views = batch()
    model = build(dict(a=head(IN_BATCH, pairs=BOTH)), join_views=True)
    loss = model.loss(views)['loss_a']
    z = model.heads['a'].projector(model.backbone(torch.cat(views.images))[0].mean((2, 3)))
    want = L.nt_xent(*z.chunk(2), 0.3)
    torch.testing.assert_close(loss, want, rtol=0, atol=1e-12)
    parameters = list(model.parameters())
    mine = torch.autograd.grad(loss, parameters)
    theirs = torch.autograd.grad(want, parameters)
    for x, y in zip(mine, theirs, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-9, atol=1e-12)


def test_moco_v3_is_its_symmetric_form():
    views = batch()
    objective = dict(type='InfoNCE', queue=0, batch='keys', temperature=0.3)
    predictor = dict(type='MLP', channels=(5, 7, 5))
    model = build(
        dict(a=head(objective, pairs=BOTH, predictor=predictor, loss_weight=4 * 0.3)),
        cls=MomentumPretrainer,
    )
    loss = model.loss(views)['loss_a']
    a = model.heads['a']
    z = [a.projector(model.encode(x)[0].mean((2, 3))) for x in views.images]
    k = [model.target.heads['a'](model.encode_target(x)[0].mean((2, 3))) for x in views.images]
    want = L.moco_v3(a.predictor(z[0]), a.predictor(z[1]), k[0], k[1], 0.3)
    torch.testing.assert_close(loss, want, rtol=0, atol=1e-12)


def test_stop_gradient_cuts_the_key_and_only_the_key():
    views = batch()
    cosine = 'Cosine'
    predictor = dict(type='MLP', channels=(5, 5))
    model = build(dict(a=head(cosine, pairs=BOTH, predictor=predictor, stop_gradient=True)))
    loss = model.loss(views)['loss_a']
    a = model.heads['a']
    z = [a.projector(model.encode(x)[0].mean((2, 3))) for x in views.images]
    p = [a.predictor(x) for x in z]
    want = (L.negative_cosine(p[0], z[1].detach()) + L.negative_cosine(p[1], z[0].detach())) / 2
    torch.testing.assert_close(loss, want, rtol=0, atol=1e-12)
    weight = model.backbone.conv.weight
    torch.testing.assert_close(torch.autograd.grad(loss, weight)[0], torch.autograd.grad(want, weight)[0])


def test_a_projection_is_computed_once_for_both_directions():
    model = build(
        dict(a=head(IN_BATCH, pairs=BOTH, projector=dict(type='MLP', channels=(6, 5, 5), norm=True)))
    )
    model.train().loss(batch())
    norm = next(m for m in model.heads['a'].projector if isinstance(m, nn.BatchNorm1d))
    assert int(norm.num_batches_tracked) == 2  # once a view


def test_support_views_take_no_gradient_away():
    """A view may be compared and support the judgement of likeness at once."""
    gradients = []
    for support in ((), (0, 1)):
        negatives = dict(type='SimilarImages', top=1, threshold=1.0)  # finds none
        model = build(dict(a=head(dict(IN_BATCH, negatives=negatives), pairs=BOTH, support=support)))
        model.eval().loss(batch())['loss_a'].backward()
        gradients.append(model.backbone.conv.weight.grad)
    torch.testing.assert_close(*gradients)


def test_the_target_has_no_dropout_and_no_drop_path():
    model = build(dict(a=head(IN_BATCH)))
    model.backbone.drop = nn.Sequential(nn.Dropout(0.2), DropPath(0.3))
    target = TargetBranch(model.backbone, None, model.heads)
    assert target.backbone.drop[0].p == 0 and target.backbone.drop[1].drop_prob == 0
    assert model.backbone.drop[0].p == 0.2 and model.backbone.drop[1].drop_prob == 0.3


def test_class_tokens_become_levels_of_one_cell():
    @MODELS.register_module(force=True)
    class WithToken(nn.Module):
        def forward(self, x):
            return [(x, x.mean((2, 3)))]

    model = SharedPretrainer(
        backbone=dict(type='WithToken'),
        heads=dict(a=head(IN_BATCH, projector=dict(type='MLP', channels=(3, 5)))),
    )
    levels = model.encode(torch.randn(2, 3, 4, 4))
    assert [tuple(x.shape) for x in levels] == [(2, 3, 4, 4), (2, 3, 1, 1)]
