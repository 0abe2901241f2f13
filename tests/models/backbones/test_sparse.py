"""Masked convolutional backbones are sparse ones: against networks on lists of points, in float64."""

import copy

import pytest
import torch
from oracles import sparse as oracle

from densecl.models.backbones.recompute import recompute_blocks
from densecl.models.backbones.sparse import encode_sparse, sparse
from densecl.registry import MODELS

RESNET = dict(
    type='mmdet.ResNet',
    depth=18,
    base_channels=4,
    stem_channels=4,
    strides=(1, 2, 2, 1),
    dilations=(1, 1, 1, 2),
    norm_eval=False,
    frozen_stages=-1,
)
CONVNEXT = dict(
    type='TimmBackbone', model_name='convnextv2_atto', depths=(1, 1, 1, 1), dims=(4, 6, 8, 10), conv_mlp=False
)
KINDS = {
    'mmdet': RESNET,
    'torchvision': dict(type='TorchvisionResNet', arch='resnet18', out_indices=(1, 3)),
    'timm': dict(type='TimmBackbone', model_name='resnet26d'),
    'convnextv2': CONVNEXT,
    'convnextv2 by convolutions': dict(CONVNEXT, conv_mlp=True),
    'convnext': dict(
        type='TimmBackbone', model_name='convnext_tiny', depths=(1, 1, 1, 1), dims=(4, 6, 8, 10)
    ),
}


def build(config):
    torch.manual_seed(0)
    model = MODELS.build(dict(config)).double()
    for name, parameter in model.named_parameters():
        if parameter.ndim <= 1:  # norms that do something, biases that could leak
            torch.nn.init.uniform_(parameter, 0.2, 1.0)
        if 'grn' in name:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    model.train()
    return model


def inputs(side, cells, batch=2):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(batch, 3, side, side, dtype=torch.float64, generator=generator)
    hidden = torch.rand(batch, cells, cells, generator=generator) < 0.5
    hidden[0, 0, 0], hidden[1, 0, 1], hidden[:, 1, 1] = True, False, torch.tensor([False, True])
    return images, hidden


def resnet_of_points(net, images, active):
    """A ResNet of basic blocks; levels as dense maps, and the running statistics that it leaves."""
    moved, size = {}, images.shape[-1]

    def at(stride):
        return oracle.places(active, (size // stride, size // stride))

    def relu(x):
        return oracle.each(x, lambda v: v.clamp(min=0))

    def norm(x, layer):
        return oracle.batch_norm(x, layer, moved)

    x = oracle.convolve(oracle.points_of(images, active), net.conv1, at(2))
    x, stride, levels = oracle.max_pool(relu(norm(x, net.norm1)), net.maxpool, at(4)), 4, []
    for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
        for block in stage:
            stride *= block.conv1.stride[0]
            y = relu(norm(oracle.convolve(x, block.conv1, at(stride)), block.norm1))
            y = norm(oracle.convolve(y, block.conv2, at(stride)), block.norm2)
            if block.downsample is not None:
                x = norm(oracle.convolve(x, block.downsample[0], at(stride)), block.downsample[1])
            x = relu(oracle.added(x, y))
        side = size // stride
        levels.append(oracle.dense(x, (len(images), stage[-1].conv2.out_channels, side, side)))
    return levels, moved


def convnext_of_points(net, images, active):
    """A ConvNeXt V2; levels as dense maps."""
    size, stride, levels = images.shape[-1], 4, []

    def at(stride):
        return oracle.places(active, (size // stride, size // stride))

    x = oracle.layer_norm(oracle.convolve(oracle.points_of(images, active), net.stem_0, at(4)), net.stem_1)
    for stage in (net.stages_0, net.stages_1, net.stages_2, net.stages_3):
        if stage is not net.stages_0:
            stride *= 2
            x = oracle.convolve(oracle.layer_norm(x, stage.downsample[0]), stage.downsample[1], at(stride))
        for block in stage.blocks:
            y = oracle.layer_norm(oracle.convolve(x, block.conv_dw, at(stride)), block.norm)
            y = oracle.each(
                y, lambda v, b=block: torch.nn.functional.gelu(b.mlp.fc1.weight @ v + b.mlp.fc1.bias)
            )
            y = oracle.response_norm(y, block.mlp.grn)
            y = oracle.each(y, lambda v, b=block: b.mlp.fc2.weight @ v + b.mlp.fc2.bias)
            x = oracle.added(x, y)
        shape = len(images), len(next(iter(x.values()))), size // stride, size // stride
        levels.append(oracle.dense(x, shape))
    return levels


def compare(net, levels, want):
    """Levels, and the gradients of all weights."""
    parameters = list(net.parameters())
    gradients, wanted = (
        torch.autograd.grad(sum(x.sin().sum() for x in each), parameters) for each in (levels, want)
    )
    assert all(x.abs().max() > 0.1 and (x == 0).any() for x in levels)
    torch.testing.assert_close(list(levels), want, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(gradients, wanted, rtol=1e-7, atol=1e-8)


def test_a_resnet_is_one_on_points():
    net, (images, hidden) = build(RESNET), inputs(32, 2)
    levels = encode_sparse(net, images, hidden)
    want, moved = resnet_of_points(net, images, ~hidden)
    compare(net, levels, want)
    layers = [layer for layer in net.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    running = [(layer.running_mean, layer.running_var) for layer in layers]
    assert len(moved) == len(layers) == 20
    torch.testing.assert_close(running, [moved[layer] for layer in layers], rtol=1e-9, atol=1e-12)


def test_a_convnext_v2_is_one_on_points():
    net, (images, hidden) = build(CONVNEXT), inputs(64, 2)
    compare(net, encode_sparse(net, images, hidden), convnext_of_points(net, images, ~hidden))


@pytest.mark.parametrize('kind', KINDS)
def test_what_is_hidden_changes_nothing(kind):
    net, (images, hidden) = build(KINDS[kind]), inputs(64, 2)
    pixels = hidden.repeat_interleave(32, 1).repeat_interleave(32, 2)[:, None].expand_as(images)
    images.requires_grad_()
    levels = encode_sparse(net, images, hidden)
    (gradient,) = torch.autograd.grad(sum(x.sin().sum() for x in levels), images)
    assert not gradient[pixels].any() and gradient[~pixels].abs().min() > 0
    other = images.detach().masked_fill(pixels, torch.inf)
    torch.testing.assert_close(encode_sparse(net, other, hidden), levels, rtol=0, atol=0)
    for level in levels:
        cells = torch.nn.functional.max_pool2d(level.abs().amax(1, keepdim=True), level.shape[-1] // 2)[:, 0]
        assert torch.equal(cells == 0, hidden)


@pytest.mark.parametrize('kind', KINDS)
def test_without_a_mask_it_is_the_plain_network(kind):
    net, (images, hidden) = build(KINDS[kind]), inputs(64, 2)
    plain = copy.deepcopy(net)
    torch.testing.assert_close(
        encode_sparse(net, images, torch.zeros_like(hidden)), plain(images), rtol=1e-9, atol=1e-9
    )
    with pytest.raises(RuntimeError, match='on the way'), sparse(net, ~hidden):
        raise RuntimeError('on the way')
    assert list(net.state_dict()) == list(plain.state_dict())
    net.load_state_dict(plain.state_dict())
    torch.testing.assert_close(net(images), plain(images), rtol=0, atol=0)
    assert not any(m._forward_hooks for m in net.modules())


@pytest.mark.parametrize('kind', ['mmdet', 'convnextv2'])
def test_blocks_compute_again_with_the_mask(kind):
    net, (images, hidden) = build(KINDS[kind]), inputs(64, 2)
    again = copy.deepcopy(net)
    recompute_blocks(again)
    found = []
    for each in (net, again):
        loss = sum(x.sin().sum() for _ in range(2) for x in encode_sparse(each, images, hidden))
        loss.backward()
        found.append((loss, [p.grad for p in each.parameters()], list(each.buffers())))
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=0)


def test_it_works_in_bfloat16():
    net, (images, hidden) = build(RESNET), inputs(32, 2)
    want = encode_sparse(net, images, hidden)[-1].float()
    with torch.autocast('cpu', torch.bfloat16):
        got = encode_sparse(net.float(), images.float(), hidden)[-1]
    assert (got.float() - want).abs().max() < 0.1 * want.abs().max()


def refuse(config, match, side=64, cells=2):
    images, hidden = inputs(side, cells)
    with pytest.raises(ValueError, match=match):
        encode_sparse(build(config), images, hidden)


def test_what_would_leak_is_refused_by_name():
    timm = dict(type='TimmBackbone')
    refuse(dict(timm, model_name='seresnet18'), r'layer1.0.se.gate \(Sigmoid\) of FeatureListNet may mix')
    refuse(
        dict(timm, model_name='swin_tiny_patch4_window7_224', embed_dim=12, depths=(1, 1, 1, 1)),
        r'blocks.0.attn \(WindowAttention\)',
    )
    refuse(dict(timm, model_name='efficientnet_lite0'), 'BatchNormAct2d takes its statistics in its own way')
    traced = dict(type='TorchvisionFeatures', arch='resnet18', nodes=('layer4',))
    refuse(traced, 'TorchvisionFeatures may mix hidden cells')


def test_what_does_not_fit_is_refused():
    refuse(
        RESNET, 'layer3.0.conv1 has values of shape .* which a mask of 8 x 8 cells does not divide', cells=8
    )
    refuse(RESNET, 'the backbone has values of shape', cells=3)
    net, (images, hidden) = build(RESNET), inputs(32, 2)
    net.compile()
    with pytest.raises(ValueError, match='leave out model.compile_backbone'):
        encode_sparse(net, images, hidden)
