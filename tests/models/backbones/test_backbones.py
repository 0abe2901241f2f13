"""Adapters against the libraries that they adapt."""

import pytest
import torch
import torchvision

from densecl.models.backbones import TorchvisionFeatures, TorchvisionResNet
from densecl.registry import MODELS


def test_torchvision_resnet_keeps_names_and_values():
    reference = torchvision.models.resnet18(weights=None).eval()
    backbone = TorchvisionResNet('resnet18', out_indices=(0, 3)).eval()
    report = backbone.load_state_dict(reference.state_dict(), strict=False)
    assert report.missing_keys == []
    assert report.unexpected_keys == ['fc.weight', 'fc.bias']
    x = torch.randn(2, 3, 64, 64)
    low, high = backbone(x)
    assert low.shape == (2, 64, 16, 16)
    torch.testing.assert_close(reference.fc(high.mean((2, 3))), reference(x))


def test_other_architectures_of_torchvision():
    with pytest.raises(ValueError, match='TorchvisionFeatures'):
        TorchvisionResNet('convnext_tiny')
    backbone = TorchvisionFeatures('mobilenet_v3_small', nodes=['features.3', 'features.12']).eval()
    low, high = backbone(torch.randn(1, 3, 64, 64))
    assert low.shape[2:] == (8, 8)
    assert high.shape[2:] == (2, 2)


def test_timm_backbone_has_timms_names_and_values():
    timm = pytest.importorskip('timm')
    backbone = MODELS.build(dict(type='TimmBackbone', model_name='resnet18', out_indices=(4,))).eval()
    reference = timm.create_model('resnet18', pretrained=False).eval()
    reference.load_state_dict(backbone.state_dict(), strict=False)
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(backbone(x)[0], reference.forward_features(x))


@pytest.mark.parametrize('model_name', ['resnet50_clip', 'resnetaa50'])
def test_average_pools_of_timm_round_up_as_strides_do(model_name):
    """Levels of any image as large as those of an mm ResNet; features of whole sizes are timm's."""
    timm = pytest.importorskip('timm')
    small = dict(width_factor=0.125) if 'clip' in model_name else dict(channels=(8, 16, 24, 32))
    backbone = MODELS.build(dict(type='TimmBackbone', model_name=model_name, **small)).eval()
    resnet = MODELS.build(dict(type='mmdet.ResNet', depth=18))
    for sides in ((64, 96), (133, 99)):
        x = torch.randn(1, 3, *sides)
        sizes = [level.shape[2:] for level in backbone(x)[1:]]
        assert sizes == [level.shape[2:] for level in resnet(x)]
    theirs = timm.create_model(model_name, features_only=True, **small).eval()
    theirs.load_state_dict(backbone.state_dict())
    x = torch.randn(1, 3, 64, 96)
    assert all(torch.equal(a, b) for a, b in zip(backbone(x), theirs(x), strict=True))


@pytest.mark.parametrize('scope', ['mmdet', 'mmseg'])
def test_mm_backbones_come_by_scope(scope):
    cfg = dict(type=f'{scope}.ResNet', depth=18, out_indices=(3,), norm_eval=False)
    backbone = MODELS.build(cfg)
    names = {k for k in torchvision.models.resnet18().state_dict() if not k.startswith('fc.')}
    assert set(backbone.state_dict()) == names


@pytest.mark.parametrize('name', ['mambaout_femto', 'swinv2_cr_tiny_224'])
def test_levels_of_timm_are_channels_first(name):
    """Some of its networks return (B, H, W, C)."""
    model = MODELS.build(dict(type='TimmBackbone', model_name=name, out_indices=(1, 3))).eval()
    with torch.no_grad():
        levels = model(torch.rand(1, 3, 224, 224))
    channels = model.feature_info.channels()
    assert [level.shape[1] for level in levels] == channels and levels[0].shape[2:] == (28, 28)


def test_a_stage_that_a_resnet_does_not_have_is_refused():
    for stage in (-1, 4):
        with pytest.raises(ValueError, match='TorchvisionResNet: out_indices are of 0, 1, 2, 3'):
            MODELS.build(dict(type='TorchvisionResNet', arch='resnet18', out_indices=(stage,)))
