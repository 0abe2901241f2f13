"""What keeps a good start good: held statistics, heads first, frozen layers, and the frozen copy."""

import copy

import pytest
import torch

from densecl.models.pretrainers import MomentumPretrainer, SharedPretrainer
from densecl.registry import MODELS
from tests.models.pretrainers.test_momentum import batch

ANCHOR = dict(target='start', units='Cells', objective='Gram', pairs=((0, 0), (1, 1)))
IMAGE = dict(
    projector=dict(type='MLP', channels=(512, 8)), objective=dict(type='InfoNCE', queue=0, batch='keys')
)


def make(kind=MomentumPretrainer, anchor=True, **kwargs):
    torch.manual_seed(0)
    heads = dict(image=copy.deepcopy(IMAGE), **({'anchor': copy.deepcopy(ANCHOR)} if anchor else {}))
    model = kind(backbone=dict(type='TorchvisionResNet', arch='resnet18'), heads=heads, **kwargs)
    model.init_weights()
    return model.train()


def step(model, optimizer, views):
    """One optimiser step as the loop makes it; the losses."""
    optimizer.zero_grad()
    losses = model.loss(views)
    sum(value for name, value in losses.items() if name.startswith('loss_')).backward()
    model.before_optimizer_step()
    optimizer.step()
    model.after_optimizer_step()
    return losses


def snapshot(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(before, module):
    return {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}


@pytest.mark.parametrize('kind', [MomentumPretrainer, SharedPretrainer])
def test_the_anchor_holds_what_the_backbone_was(kind):
    model = make(kind, batch_statistics='held')
    views = batch()
    first = model.loss(views)
    assert first['loss_anchor'].item() == pytest.approx(0, abs=1e-8)
    frozen = snapshot(model.start)
    optimizer = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), 0.1)
    for _ in range(3):
        last = step(model, optimizer, views)
    assert last['loss_anchor'] > 1e-6 and not changed(frozen, model.start)
    gradient = torch.autograd.grad(model.loss(views)['loss_anchor'], model.backbone.conv1.weight)[0]
    assert gradient.isfinite().all() and gradient.any()


def test_no_copy_is_kept_of_a_projector_that_nothing_reads():
    torch.manual_seed(0)
    heads = dict(
        image=copy.deepcopy(IMAGE),
        anchor=dict(copy.deepcopy(ANCHOR), projector=dict(type='LN2d', channels=512)),
    )
    model = MomentumPretrainer(backbone=dict(type='TorchvisionResNet', arch='resnet18'), heads=heads).train()
    assert list(model.target.heads) == ['image']
    step(model, torch.optim.SGD((p for p in model.parameters() if p.requires_grad), 0.1), batch())


def test_weights_that_are_loaded_become_the_start_and_the_target():
    from densecl.transfer import load_backbone

    model, other = make(), make()
    with torch.no_grad():
        other.backbone.conv1.weight.add_(1.0)
    load_backbone(model, {'state_dict': {f'backbone.{k}': v for k, v in other.backbone.state_dict().items()}})
    for part in (model, model.start, model.target):
        torch.testing.assert_close(part.backbone.conv1.weight, other.backbone.conv1.weight)


@pytest.mark.parametrize('held', [True, False])
def test_held_statistics_stay_in_both_branches(held):
    model = make(batch_statistics='held' if held else 'batch', shuffle_bn=True)
    before, target = snapshot(model.backbone), snapshot(model.target.backbone)
    model.loss(batch())
    moved = {name for name in changed(before, model.backbone) if 'running' in name}
    moved_target = {name for name in changed(target, model.target.backbone) if 'running' in name}
    assert bool(moved) == bool(moved_target) == (not held)
    assert model.heads.training and model.backbone.conv1.weight.requires_grad
    model.eval()
    assert not model.training


def test_heads_train_alone_first_and_the_target_follows_at_once():
    model = make(heads_first=2, momentum=0.999)
    optimizer = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), 0.1, momentum=0.9)
    before, heads = snapshot(model.backbone), snapshot(model.heads)
    weights = {name for name, _ in model.backbone.named_parameters()}
    views = batch()
    for _ in range(2):
        step(model, optimizer, views)
    assert not changed(before, model.backbone) & weights and changed(heads, model.heads)
    # Of a slow average 99.8 % would still be the random start.
    assert not changed(snapshot(model.heads['image'].projector), model.target.heads['image'])
    step(model, optimizer, views)
    assert weights <= changed(before, model.backbone)


def test_a_kept_target_stays_when_the_heads_have_trained_alone():
    model, views = make(anchor=False, heads_first=1, momentum=0.5, keep_target=True), batch()
    for tensor in model.target.parameters():
        tensor.data.add_(1)
    model.load_state_dict(model.state_dict())
    model.init_target()
    optimizer = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), 0.1)
    sides = model.backbone.conv1.weight, model.target.backbone.conv1.weight
    want = sides[1].detach() / 2 + sides[0].detach() / 2
    step(model, optimizer, views)
    torch.testing.assert_close(sides[1].detach(), want)


def test_frozen_layers_do_not_move():
    model = make(frozen_layers=2)
    optimizer = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), 0.1)
    before = snapshot(model.backbone)
    step(model, optimizer, batch())
    moved = {name.split('.')[0] for name in changed(before, model.backbone)}
    assert moved == {'layer2', 'layer3', 'layer4'}  # the statistics of the others do not move, either
    assert not model.target.backbone.bn1.training and model.target.backbone.layer2[0].bn1.training


def test_a_checkpoint_keeps_the_start():
    model = make()
    optimizer = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), 0.1)
    step(model, optimizer, batch())
    other = make()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.start.backbone.conv1.weight, model.start.backbone.conv1.weight)
    assert not torch.equal(other.start.backbone.conv1.weight, other.backbone.conv1.weight)


@pytest.mark.parametrize('kind', [MomentumPretrainer, SharedPretrainer])
def test_the_start_is_not_taken_for_the_backbone(kind):
    from densecl.transfer import export_backbone

    model = make(kind)
    with torch.no_grad():
        model.backbone.conv1.weight.fill_(3.0)
    exported = export_backbone({'state_dict': model.state_dict()}, 'mmdet')['state_dict']
    assert (exported['conv1.weight'] == 3).all()
    fresh = make(kind, anchor=False)
    from densecl.transfer import load_backbone

    load_backbone(fresh, {'state_dict': model.state_dict()})
    assert (fresh.backbone.conv1.weight == 3).all()


def test_what_cannot_work_is_refused():
    with pytest.raises(ValueError, match="model.heads.anchor: target='start' compares the backbone"):
        make(neck=dict(type='mmdet.FPN', in_channels=[512], out_channels=8, num_outs=1))
    with pytest.raises(ValueError, match="model.heads.anchor: target must be None, 'start', 'features'"):
        MODELS.build(
            dict(
                type='SharedPretrainer',
                backbone=dict(type='TorchvisionResNet', arch='resnet18'),
                heads=dict(anchor=dict(ANCHOR, target='past')),
            )
        )
    with pytest.raises(ValueError, match="model.batch_statistics must be 'batch' or 'held', got 'kept'"):
        make(batch_statistics='kept')


@pytest.mark.parametrize('kind', [MomentumPretrainer, SharedPretrainer])
def test_the_frozen_copy_is_renewed_from_the_target(kind):
    slow = dict(momentum=0.9) if kind is MomentumPretrainer else {}
    model = make(kind, batch_statistics='held', renew_start=(2,), **slow)
    first, views = snapshot(model.start.backbone), batch()
    optimizer = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), 0.1)
    step(model, optimizer, views)
    assert not changed(first, model.start.backbone)
    step(model, optimizer, views)
    source = model.target.backbone if kind is MomentumPretrainer else model.backbone
    assert changed(first, model.start.backbone) and not changed(snapshot(source), model.start.backbone)
    if kind is MomentumPretrainer:
        assert changed(snapshot(model.backbone), model.start.backbone)
    renewed = snapshot(model.start.backbone)
    saved = copy.deepcopy(model.state_dict())
    step(model, optimizer, views)
    assert not changed(renewed, model.start.backbone)
    again = make(kind, batch_statistics='held', renew_start=(2,), **slow)
    again.load_state_dict(saved)  # resumed, it is not made again
    assert not changed(renewed, again.start.backbone)


def test_nothing_to_renew_is_refused():
    with pytest.raises(ValueError, match="model.renew_start renews what heads with target='start' see"):
        make(anchor=False, renew_start=(5,))
