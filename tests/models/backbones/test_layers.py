"""The layers of backbones, by the names of their parameters."""

import pytest
import timm
from torch import nn
from torchvision.models import convnext_tiny, resnet18

from densecl.models.backbones.layers import freeze_layers, layers_of, patch_side
from densecl.registry import MODELS


def test_a_resnet_has_a_stem_and_four_layers():
    layers = layers_of(MODELS.build(dict(type='mmdet.ResNet', depth=18)))
    assert layers['conv1.weight'] == layers['bn1.bias'] == 0
    assert layers['layer1.0.conv1.weight'] == 1 and layers['layer4.1.bn2.weight'] == 4
    assert layers_of(resnet18())['fc.weight'] == 4  # what stands behind belongs to the deepest


@pytest.mark.parametrize(
    ('name', 'options', 'deepest', 'known'),
    [
        ('tf_efficientnet_lite0', dict(features_only=True), 7, {'conv_stem.weight': 0, 'bn1.weight': 0}),
        ('convnext_atto', dict(features_only=True), 4, {'stem_0.weight': 0}),
        ('mobilenetv3_small_050', dict(features_only=True), 6, {'conv_stem.weight': 0}),
        ('swin_tiny_patch4_window7_224', dict(features_only=True), 4, {'patch_embed.proj.weight': 0}),
        ('regnety_002', dict(features_only=True), 4, {'stem.conv.weight': 0, 's1.b1.conv1.conv.weight': 1}),
        ('dla34', dict(features_only=True), 6, {'base_layer.0.weight': 0}),
        ('densenet121', dict(features_only=True), 7, {'features_conv0.weight': 0}),
        ('vit_tiny_patch16_224', dict(), 12, {'cls_token': 0, 'pos_embed': 0, 'norm.weight': 12}),
    ],
)
def test_others(name, options, deepest, known):
    layers = layers_of(timm.create_model(name, **options))
    assert max(layers.values()) == deepest
    assert {key: layers[key] for key in known} == known


def test_frozen_layers_are_counted_from_the_stem():
    backbone = MODELS.build(dict(type='mmdet.ResNet', depth=18, frozen_stages=-1))
    freeze_layers(backbone, 2)
    frozen = {name.split('.')[0] for name, p in backbone.named_parameters() if not p.requires_grad}
    assert frozen == {'conv1', 'bn1', 'layer1'}
    with pytest.raises(ValueError, match='model.frozen_layers=9, but ResNet has 5 layers'):
        freeze_layers(backbone, 9)


def test_a_numbered_stem_is_the_stem():
    layers = layers_of(convnext_tiny())
    assert {layers[name] for name in layers if name.startswith('features.0.')} == {0}
    assert max(layers.values()) == layers['classifier.2.weight'] == 7
    model = convnext_tiny()
    freeze_layers(model, 1)
    assert {n.split('.')[1] for n, p in model.named_parameters() if not p.requires_grad} == {'0'}


def test_a_backbone_without_numbered_layers_is_not_frozen_as_a_whole():
    with pytest.raises(
        ValueError, match='model.frozen_layers=1, but the names of the parameters of Linear tell no layers'
    ):
        freeze_layers(nn.Linear(2, 2), 1)


def test_the_norm_in_front_of_clips_blocks_is_of_the_stem():
    small = dict(img_size=32, patch_size=8, embed_dim=24, depth=4, num_heads=2)
    vit = MODELS.build(dict(small, type='TimmViT', arch='vit_base_patch16_clip_224'))
    layers = layers_of(vit)
    assert layers['norm_pre.weight'] == layers['norm_pre.bias'] == 0 and layers['norm.weight'] == 4
    freeze_layers(vit, 3)
    assert not any(p.requires_grad for p in vit.norm_pre.parameters())


def test_batch_norms_of_frozen_layers_are_named():
    backbone = MODELS.build(dict(type='mmdet.ResNet', depth=18))
    blocks = [f'layer1.{block}.bn{norm}' for block in (0, 1) for norm in (1, 2)]
    assert freeze_layers(backbone, 2) == ['bn1', *blocks]
    assert freeze_layers(backbone, 0) == []


@pytest.mark.parametrize(
    'backbone, sides',
    [
        (dict(type='TimmBackbone', model_name='convnext_atto'), [4, 8, 16, 32]),
        (dict(type='TimmBackbone', model_name='swin_tiny_patch4_window7_224'), [4, 8, 16, 32]),
        (dict(type='TorchvisionResNet', arch='resnet18'), [1, 1, 1, 1]),
    ],
)
def test_sides_of_patches(backbone, sides):
    backbone = MODELS.build(backbone)
    assert [patch_side(backbone, level) for level in range(4)] == sides
    assert patch_side(nn.Sequential(nn.Conv2d(5, 3, 1), backbone), 0) == 1  # channels are mixed first
