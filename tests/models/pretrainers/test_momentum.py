"""The momentum pair: its average in closed form, its schedule, its batch statistics."""

import math

import pytest
import torch
from mmengine.model import convert_sync_batchnorm
from torch import nn
from torchvision.models import SwinTransformer

from densecl.models.pretrainers import MomentumPretrainer
from densecl.models.pretrainers.batch_statistics import Shuffle, encode_shuffled, group_batch_norm
from densecl.models.pretrainers.momentum import TargetBranch
from densecl.registry import MODELS
from tests.models.heads.made import views_of


def make(queue=32, **kwargs):
    heads = dict(
        image=dict(
            projector=dict(type='MLP', channels=(512, 8)),
            objective=dict(type='InfoNCE', queue=queue, dim=8),
            loss_weight=0.5,
        ),
        dense=dict(
            units='Cells',
            projector=dict(type='ConvMLP', channels=(512, 8)),
            matching='MostSimilar',
            objective=dict(type='InfoNCE', queue=queue, dim=8),
            loss_weight=0.25,
        ),
    )
    model = MomentumPretrainer(
        backbone=dict(type='TorchvisionResNet', arch='resnet18'), heads=heads, **kwargs
    )
    model.init_weights()
    return model


def batch(n=4, size=64):
    return views_of([torch.randn(n, 3, size, size) for _ in range(2)])


def test_target_after_k_steps_in_closed_form():
    model = make(momentum=0.9)
    weight = model.backbone.conv1.weight
    start = weight.detach().double().clone()
    history = []
    for k in range(5):
        with torch.no_grad():
            weight.add_(torch.randn_like(weight))
        history.append(weight.detach().double().clone())
        model.after_optimizer_step()
        # m^k start + (1 - m) sum_i m^(k - 1 - i) online_i
        want = 0.9 ** (k + 1) * start
        for i, online in enumerate(history):
            want = want + 0.1 * 0.9 ** (k - i) * online
        got = model.target.backbone.conv1.weight.double()
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)
    assert model.steps == int(model.step) == 5


def test_projectors_move_and_batch_statistics_do_not():
    model = make(momentum=0.5)
    before = model.target.backbone.bn1.running_mean.clone()
    with torch.no_grad():
        model.heads['dense'].projector[0].weight.fill_(2.0)
        model.target.heads['dense'][0].weight.fill_(1.0)
        model.backbone.bn1.running_mean.fill_(7.0)
    model.after_optimizer_step()
    assert model.target.heads['dense'][0].weight.unique().tolist() == [1.5]
    assert torch.equal(model.target.backbone.bn1.running_mean, before)


def test_target_starts_as_a_copy_and_takes_no_gradient():
    model = make()
    for mine, theirs in model._mirrored():
        for a, b in zip(mine.state_dict().values(), theirs.state_dict().values(), strict=True):
            assert torch.equal(a, b)
    assert not any(p.requires_grad for p in model.target.parameters())
    losses = model(batch(), mode='loss')
    (losses['loss_image'] + losses['loss_dense']).backward()
    assert all(p.grad is None for p in model.target.parameters())
    assert all(p.grad is not None for p in model.backbone.parameters())


def test_cosine_momentum_is_byols():
    model = make(momentum=dict(start=0.99, end=1.0))
    model.clock.total = 10
    for k in range(10):
        want = 1 - (1 - 0.99) * (math.cos(math.pi * k / 10) + 1) / 2
        assert model.momentum == pytest.approx(want, abs=1e-12)
        model.after_optimizer_step()
    assert model.momentum == 1.0


def test_schedule_position_survives_the_state_dict():
    model, other = make(momentum=dict(start=0.9, end=1.0)), make(momentum=dict(start=0.9, end=1.0))
    model.clock.total = other.clock.total = 8
    for _ in range(3):
        model.after_optimizer_step()
    other.load_state_dict(model.state_dict())
    assert other.steps == 3
    assert other.momentum == model.momentum != 0.9


def test_a_scheduled_momentum_needs_the_length_of_the_run():
    with pytest.raises(RuntimeError, match='clock.total'):
        make(momentum=dict(start=0.9, end=1.0)).after_optimizer_step()


@pytest.mark.parametrize('momentum', [0.001, 1.5, dict(start=0.01), dict(end=1.0)])
def test_update_rates_are_refused(momentum):
    with pytest.raises(ValueError, match='momentum'):
        make(momentum=momentum)


def test_losses_are_weighted_and_diagnostics_detached():
    model = make().eval()
    views = batch()
    first = model(views, mode='loss')
    model.heads['dense'].loss_weight = 1.0
    second = model(views, mode='loss')
    torch.testing.assert_close(second['loss_dense'], 4 * first['loss_dense'])
    torch.testing.assert_close(second['loss_image'], first['loss_image'])
    assert first['loss_image'].requires_grad
    assert not first['image_pos_sim'].requires_grad


def test_modes():
    model = make().eval()
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(model(images, mode='tensor')[0], model.encode(images)[0])
    with pytest.raises(ValueError, match='predict'):
        model(images, mode='predict')


def test_a_target_that_nobody_moves_is_reported():
    model = make()
    model._still = 999
    with pytest.warns(UserWarning, match='MomentumUpdateHook'):
        model(batch(), mode='loss')


def test_shuffled_encoding_is_put_back_in_order():
    images = torch.randn(6, 3, 4, 4)
    seen = []

    def encode(x):
        seen.append(x)
        return x * 2, x.mean((1, 2, 3))

    doubled, mean = encode_shuffled(encode, images, seed=3)
    assert torch.equal(doubled, images * 2)
    assert torch.equal(mean, images.mean((1, 2, 3)))
    assert not torch.equal(seen[0], images)
    encode_shuffled(encode, images, seed=3)
    assert torch.equal(seen[0], seen[1])


def test_only_what_is_read_is_put_back(monkeypatch):
    moved, back = [], Shuffle.back
    monkeypatch.setattr(Shuffle, 'back', lambda self, x: moved.append(tuple(x.shape)) or back(self, x))
    images = torch.randn(6, 3, 4, 4)
    levels = encode_shuffled(lambda x: (x, x * 2, x * 3), images, seed=3)
    first, second = levels.parts(2)  # two views of three images
    torch.testing.assert_close(first.pooled(-1), 3 * images[:3].mean((2, 3)))
    torch.testing.assert_close(second.pooled(2), 3 * images[3:].mean((2, 3)))
    assert moved == [(6, 3)]  # means of one level, and once
    assert torch.equal(second[1], 2 * images[3:])
    torch.testing.assert_close(first.pooled(1), first[1].mean((2, 3)))
    assert moved[1:] == [(6, 3, 4, 4)]
    with pytest.raises(IndexError):
        first.pooled(3)


def test_shuffled_images_stay_channels_last():
    model, seen = make(shuffle_bn=True, bn_groups=2).train(), []
    model.target.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    images = torch.randn(4, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    (level,) = model.encode_target(images)
    assert not torch.equal(seen[0], images)
    for x in (seen[0], level):
        assert x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def test_grouped_statistics_are_those_of_separate_devices():
    norm = group_batch_norm(nn.Sequential(nn.BatchNorm2d(3)), 2).train()
    x = torch.randn(8, 3, 5, 5) * 3 + 1
    separate = [nn.BatchNorm2d(3).train()(part) for part in x.chunk(2)]
    torch.testing.assert_close(norm(x), torch.cat(separate))
    assert set(norm.state_dict()) == {f'0.{k}' for k in nn.BatchNorm2d(3).state_dict()}
    plain = nn.BatchNorm2d(3)
    plain.load_state_dict({k[2:]: v for k, v in norm.state_dict().items()})
    torch.testing.assert_close(norm.eval()(x), plain.eval()(x))
    with pytest.raises(ValueError, match='does not divide'):
        norm.train()(x[:7])


def test_groups_reach_both_branches():
    model = make(bn_groups=2)
    for branch in (model.backbone, model.target.backbone):
        assert all(m.groups == 2 for m in branch.modules() if isinstance(m, nn.BatchNorm2d))


@pytest.mark.parametrize('convert', [convert_sync_batchnorm, nn.SyncBatchNorm.convert_sync_batchnorm])
def test_groups_refuse_to_be_converted(convert):
    model = convert(make(bn_groups=2))
    with pytest.raises(ValueError, match=r'model\.bn_groups=2 .* sync_bn .* leave out one'):
        model.train()
    convert(make()).train()


VIT = dict(type='mmseg.VisionTransformer', img_size=32, embed_dims=16, num_layers=2, num_heads=2)
NOISY = dict(
    mmseg_attention=lambda: MODELS.build(dict(VIT, attn_drop_rate=0.5)),
    mmseg=lambda: MODELS.build(dict(VIT, attn_drop_rate=0.5, drop_rate=0.5, drop_path_rate=0.5)),
    timm=lambda: MODELS.build(
        dict(
            type='TimmViT',
            arch='vit_tiny_patch16_224',
            depth=2,
            img_size=32,
            drop_path=0.5,
            pos_drop_rate=0.5,
            proj_drop_rate=0.5,
            attn_drop_rate=0.5,
        )
    ),
    torchvision=lambda: SwinTransformer([4, 4], 16, [2], [2], [4, 4], 2.0, 0.5, 0.5, 0.5),
    maps=lambda: nn.Sequential(nn.Conv2d(3, 8, 1), nn.Dropout2d()),
    alpha=lambda: nn.Sequential(nn.Conv2d(3, 8, 1), nn.AlphaDropout()),
)


@pytest.mark.parametrize('kind', NOISY)
def test_the_target_drops_nothing(kind):
    backbone = NOISY[kind]()
    target = TargetBranch(backbone, None, nn.ModuleDict()).backbone
    images = torch.randn(2, 3, 32, 32)

    def repeats(module):
        module.train()
        with torch.no_grad():
            first, second = module(images), module(images)
        return torch.equal(*(out[0] if isinstance(out, tuple) else out for out in (first, second)))

    assert not repeats(backbone)
    assert repeats(target)
