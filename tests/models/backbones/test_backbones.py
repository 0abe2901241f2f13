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


@pytest.mark.parametrize('scope', ['mmdet', 'mmseg'])
def test_mm_backbones_come_by_scope(scope):
    cfg = dict(type=f'{scope}.ResNet', depth=18, out_indices=(3,), norm_eval=False)
    backbone = MODELS.build(cfg)
    names = {k for k in torchvision.models.resnet18().state_dict() if not k.startswith('fc.')}
    assert set(backbone.state_dict()) == names
