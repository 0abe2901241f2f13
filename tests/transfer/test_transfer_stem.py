"""Stems for images of any number of channels, made from those for RGB."""

import copy

import numpy as np
import pytest
import torch
from mmengine.config import Config

from densecl.evaluation.features import FrozenEncoder
from densecl.registry import MODELS
from densecl.transfer import backbone_features, load_backbone
from densecl.transfer.start import Start
from densecl.transfer.stem import inflate_stem

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)

BACKBONES = {
    'mmdet ResNet-18': (dict(type='mmdet.ResNet', depth=18), 'in_channels'),
    'mmseg ResNetV1c-18': (dict(type='mmseg.ResNetV1c', depth=18), 'in_channels'),
    'timm EfficientNet': (dict(type='TimmBackbone', model_name='tf_efficientnet_lite0'), 'in_chans'),
    'timm ConvNeXt': (dict(type='TimmBackbone', model_name='convnext_atto'), 'in_chans'),
    'timm ViT': (dict(type='TimmViT', arch='vit_tiny_patch16_224', depth=2, img_size=64), 'in_chans'),
    'mmdet Swin': (
        dict(type='mmdet.SwinTransformer', embed_dims=24, depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 8)),
        'in_channels',
    ),
}


def test_values_of_the_filters():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(8, 3, 5, 5, generator=generator, dtype=torch.float64)
    tensors = {'conv1.weight': weight, 'conv1.bias': torch.ones(8), 'conv2.weight': torch.ones(4, 8, 1, 1)}
    new, names = inflate_stem(tensors, 5)
    assert names == ['conv1.weight', 'conv1.bias']
    mean = (weight[:, 0] + weight[:, 1] + weight[:, 2]) / 3
    for i in range(5):
        expected = (weight[:, i] if i < 3 else mean) * 3 / 5
        torch.testing.assert_close(new['conv1.weight'][:, i], expected, rtol=0, atol=1e-12)
    assert new['conv2.weight'] is tensors['conv2.weight'] and new['conv1.bias'] is tensors['conv1.bias']
    one, _ = inflate_stem(tensors, 1)
    torch.testing.assert_close(one['conv1.weight'][:, 0], weight.sum(1), rtol=0, atol=1e-12)
    two, _ = inflate_stem(tensors, 2)
    torch.testing.assert_close(two['conv1.weight'], torch.stack([mean, mean], 1) * 1.5, rtol=0, atol=1e-12)
    same, names = inflate_stem(tensors, 3)
    assert same['conv1.weight'] is weight and names == ['conv1.weight', 'conv1.bias']


def test_what_has_no_stem_is_refused():
    with pytest.raises(
        ValueError, match=r'no stem.*3 input channels, 1 are 4-D.*conv1.weight \(8, 4, 5, 5\)'
    ):
        inflate_stem({'conv1.weight': torch.ones(8, 4, 5, 5)}, 5)
    with pytest.raises(ValueError, match='channels must be at least 1, got 0'):
        inflate_stem({'conv1.weight': torch.ones(8, 3, 5, 5)}, 0)


@pytest.mark.parametrize('name', BACKBONES)
@pytest.mark.parametrize('channels', [1, 4])
def test_a_grey_image_gives_what_it_gave(name, channels):
    config, key = BACKBONES[name]
    torch.manual_seed(1)
    source = MODELS.build(config)
    torch.manual_seed(2)
    model = MODELS.build({**config, key: channels})
    report = load_backbone(model, {'state_dict': source.state_dict()})
    assert report.inflated == (3, channels) and report.fraction == 1 and not report.mismatched
    assert f'stem inflated 3 -> {channels}: {report.stem[0]}' in str(report)
    weight = dict(model.named_parameters())[report.stem[0]]
    assert weight.shape[1] == channels and len(report.stem) == (
        2 if 'ViT' in name or 'Swin' in name or 'Conv' in name else 1
    )
    grey = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(3))
    before = backbone_features(source, grey.expand(-1, 3, -1, -1))
    after = backbone_features(model, grey.expand(-1, channels, -1, -1))
    assert before[-1].std() > 1e-3
    for one, two in zip(before, after, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-3 * one.abs().max().item())


def test_a_detector_for_four_bands_starts_from_rgb_weights(pretrained):
    path, source = pretrained
    config = Config(dict(type='mmdet.ResNet', depth=18, in_channels=4))
    detector = torch.nn.ModuleDict({'backbone': MODELS.build(config._cfg_dict)})
    report = load_backbone(detector, path)
    assert report.fraction == 1 and report.warnings == [] and report.stem == ['conv1.weight']
    expected, _ = inflate_stem(source.backbone.state_dict(), 4)
    assert all(torch.equal(expected[k], t) for k, t in detector.backbone.state_dict().items())


def test_a_start_is_built_for_bands(pretrained):
    source = pretrained[1].backbone
    start = Start('a', dict(type='mmdet.ResNet', depth=18), source.state_dict(), MEAN, STD)
    model = start.build(in_channels=6)
    expected, _ = inflate_stem(source.state_dict(), 6)
    assert all(torch.equal(expected[k], t) for k, t in model.state_dict().items())


def test_an_encoder_takes_bands_of_any_depth():
    torch.manual_seed(0)
    backbone = MODELS.build(dict(type='mmdet.ResNet', depth=18, in_channels=4))
    backbone.eval()
    mean, std = [1800.0, 1700.0, 1500.0, 2100.0], [900.0, 800.0, 850.0, 700.0]
    encoder = FrozenEncoder(backbone, dict(mean=mean, std=std, channel_order=None))
    images = np.random.default_rng(0).integers(0, 4096, (2, 40, 48, 4)).astype(np.uint16)
    planes = torch.from_numpy((images - np.array(mean)) / np.array(std)).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        expected = backbone(planes)[-1].mean((2, 3))
    torch.testing.assert_close(encoder(torch.from_numpy(images)), expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match='images have 3 channels, the backbone was trained on 4'):
        encoder.maps(torch.zeros(1, 32, 32, 3, dtype=torch.uint8))


def test_bands_do_not_become_rgb(pretrained, tmp_path):
    _, source = pretrained
    tensors, _ = inflate_stem(source.backbone.state_dict(), 4)
    rgb = copy.deepcopy(source.backbone)
    message = r"conv1.weight reads images of 4 channels, the model's 3: set backbone.in_channels=4"
    with pytest.raises(RuntimeError, match=message):
        load_backbone(rgb, {'state_dict': tensors})
    report = load_backbone(rgb, {'state_dict': tensors}, min_match=0)
    assert list(report.mismatched) == ['conv1.weight'] and report.inflated is None
