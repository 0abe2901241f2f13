"""Scores of prototypes as units: SwAV and DINO, one projection of all crops, frozen prototypes."""

import copy
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from oracles import self_distilled as by_hand

from densecl.models.losses.functional import self_distillation, sinkhorn
from densecl.models.pretrainers import MomentumPretrainer, SharedPretrainer
from densecl.schedule import Clock
from tests.models.heads.made import build as build_head
from tests.models.heads.made import score, views_of

SIZES = (64, 64, 32, 32, 32)
BACKBONE = dict(type='densecl.TorchvisionResNet', arch='resnet18')


def swav_head(**units):
    projector = dict(
        type='densecl.PrototypeProjector',
        channels=(512, 16, 8),
        norm=True,
        bias=True,
        prototypes=11,
    )
    units = dict(type='densecl.Prototypes', **units)
    return dict(units=units, projector=projector, objective='densecl.SwappedPrediction', pairs='crops')


def dino_head(**units):
    projector = dict(
        type='densecl.PrototypeProjector',
        channels=(512, 16, 16, 8),
        activation='GELU',
        init='trunc_normal',
        prototypes=11,
        weight_norm=True,
    )
    units, objective = dict(type='densecl.Prototypes', **units), dict(type='SelfDistillation', prototypes=11)
    return dict(units=units, projector=projector, objective=objective, pairs='crops')


def build(pretrainer, head, **kwargs):
    torch.manual_seed(0)
    model = pretrainer(backbone=BACKBONE, heads=dict(image=head), join_views=True, **kwargs)
    model.init_weights()
    return model.double().train()


def batch(n=4, sizes=SIZES):
    generator = torch.Generator().manual_seed(1)
    return views_of([torch.randn(n, 3, s, s, generator=generator, dtype=torch.float64) for s in sizes])


def pooled(backbone, images):
    """Each size in one pass, as the official codes do; (5 n, 512)."""
    large, small = torch.cat(images[:2]), torch.cat(images[2:])
    return torch.cat([backbone(large)[0].mean((2, 3)), backbone(small)[0].mean((2, 3))])


def swapped(scores, codes, t=0.1):
    """The official loop: each assigning crop is predicted from all other crops."""
    total = 0.0
    for i, code in enumerate(codes):
        terms = [(code * (x / t).log_softmax(1)).sum(1).mean() for v, x in enumerate(scores) if v != i]
        total = total - sum(terms) / len(terms)
    return total / len(codes)


def test_swav_in_the_order_of_the_official_step():
    model, views = build(SharedPretrainer, swav_head()), batch()
    head = model.heads['image']
    with torch.no_grad():
        head.projector.prototypes.weight.mul_(3)
    loss = model.loss(views)['loss_image']
    weight = head.projector.prototypes.weight
    torch.testing.assert_close(weight.norm(dim=1), torch.ones(11).double())

    # one projection of all crops: the batch norm of the head sees all of them
    z = F.normalize(head.projector.mlp(pooled(model.backbone, views.images)), dim=1)
    scores = list((z @ weight.T).chunk(5))
    codes = [sinkhorn(s.detach(), 0.05, 3) for s in scores[:2]]
    want = swapped(scores, codes)
    torch.testing.assert_close(loss, want, rtol=0, atol=1e-9)
    parameters = list(model.parameters())
    for mine, theirs in zip(
        torch.autograd.grad(loss, parameters), torch.autograd.grad(want, parameters), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(model.watched['image'][0], z.chunk(5)[0].detach())


def test_dino_teaches_from_the_first_crops_alone():
    model, views = build(MomentumPretrainer, dino_head(), momentum=0.9), batch()
    seen = []
    model.target.backbone.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape))
    with torch.no_grad():
        for p in model.target.parameters():
            p.add_(0.01 * torch.randn_like(p))
    loss = model.loss(views)['loss_image']
    assert seen == [(8, 3, 64, 64)]  # both global crops, once

    student = model.heads['image'].projector(pooled(model.backbone, views.images)).chunk(5)
    large = torch.cat(views.images[:2])
    teacher = model.target.heads['image'](model.target.backbone(large)[0].mean((2, 3))).chunk(2)
    want = self_distillation(student, teacher, torch.zeros(11).double(), 0.1, 0.04)
    torch.testing.assert_close(loss, want, rtol=0, atol=1e-9)
    torch.testing.assert_close(
        model.heads['image'].objective.center, 0.1 * torch.cat(teacher).mean(0, keepdim=True)
    )
    loss.backward()
    assert all(p.grad is None for p in model.target.parameters())


def test_dinov2_shares_the_prototypes_out_over_both_global_crops():
    head = dino_head()
    head['objective'] = dict(type='SelfDistillation', prototypes=11, centering='sinkhorn')
    model, views = build(MomentumPretrainer, head, momentum=0.9), batch()
    loss = model.loss(views)['loss_image']
    student = model.heads['image'].projector(pooled(model.backbone, views.images)).chunk(5)
    large = torch.cat(views.images[:2])
    codes = by_hand.sinkhorn(model.target.heads['image'](model.target.backbone(large)[0].mean((2, 3))), 0.04)
    pairs = [(q, k) for q in range(5) for k in range(2) if q != k]
    terms = [-(codes.chunk(2)[k] * (student[q] / 0.1).log_softmax(1)).sum(1).mean() for q, k in pairs]
    torch.testing.assert_close(loss, sum(terms) / 8, rtol=0, atol=1e-9)
    assert not model.heads['image'].objective.center.any()  # there is none


@pytest.mark.parametrize(
    ('settings', 'steps'),
    [
        (dict(freeze=3, freeze_unit='step'), 3),
        (dict(freeze=1), 4),
        (dict(freeze=0.25), 1),
        (dict(), 0),
    ],
)
@pytest.mark.parametrize('make', [swav_head, dino_head])
def test_prototypes_stay_as_they_are_at_the_start(make, settings, steps):
    torch.manual_seed(0)
    head = build_head(**make(**settings))
    head.units.clock = head.objective.clock = Clock(epoch=4)
    optimizer = torch.optim.SGD([p for p in head.parameters() if p.requires_grad], lr=0.1)
    layer, target = head.projector.prototypes, copy.deepcopy(head.projector)
    maps = torch.randn(3, 4, 512, 1, 1, dtype=torch.float64)
    directions = []
    for _ in range(7):
        directions.append(F.normalize(list(layer.parameters())[-1].detach(), dim=1))
        optimizer.zero_grad()
        score(head, maps, batch(sizes=(1, 1, 1)), target).loss.backward()
        for parameter in head.frozen_parameters():
            parameter.grad = None
        optimizer.step()
        head.units.clock.step += 1
    moved = [not torch.allclose(a, b, rtol=0, atol=1e-9) for a, b in pairwise(directions)]
    assert moved == [step >= steps for step in range(6)]


def test_learned_lengths_are_frozen_too_and_the_target_follows():
    head = dino_head(freeze=1, freeze_unit='step')
    head['projector']['learn_length'] = True
    model = build(MomentumPretrainer, head, momentum=0.5)
    layer = model.heads['image'].projector.prototypes
    assert set(model.heads['image'].frozen_parameters()) == {layer.weight_g, layer.weight_v}
    model.clock.step = 1
    assert model.heads['image'].frozen_parameters() == ()
    assert not model.target.heads['image'].prototypes.weight_g.requires_grad
    with torch.no_grad():
        layer.weight_g.fill_(3)
    model.after_optimizer_step()
    assert model.target.heads['image'].prototypes.weight_g.unique().tolist() == [2]


def test_bf16_autocast_gives_a_finite_loss_near_the_exact_one():
    model = build(SharedPretrainer, swav_head()).float()
    views = batch(16)
    views.images = [x.float() for x in views.images]
    exact = model.loss(views)['loss_image']
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss = model.loss(views)['loss_image']
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=0.05)
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="freeze_unit must be 'epoch' or 'step', got 'run'"):
        build_head(**swav_head(freeze_unit='run'))
    head = build_head(**swav_head(freeze=1))
    with pytest.raises(ValueError, match="pairs='crops' needs at least 2 views, the pipeline makes 1"):
        head.needed(1)
    assert head.needed(5) == {'online': {0, 1, 2, 3, 4}, 'target': {0, 1}}
    head.units.clock = Clock()
    with pytest.raises(RuntimeError, match=r'Prototypes.freeze.*clock.epoch'):
        head.frozen_parameters()
