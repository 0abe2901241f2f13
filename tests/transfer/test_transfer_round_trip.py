"""The feature check finds good exports good and broken ones broken."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from densecl.registry import MODELS
from densecl.transfer import check_export, export_backbone, read_weights, save_export
from densecl.transfer.dialects import TARGETS

CONFIGS = Path(__file__).parents[2] / 'configs'


@pytest.mark.parametrize('target', [t for t in TARGETS if t != 'huggingface'])
def test_good_exports(pretrained50, target, image, tmp_path):
    suffix = {'safetensors': '.safetensors', 'detectron2': '.pkl'}.get(target, '.pth')
    out = save_export(export_backbone(pretrained50[0], target, 'target'), tmp_path / f'a{suffix}')
    assert check_export(pretrained50[0], out, 'target', image) == 0
    assert check_export(pretrained50[0], out, 'online', image) > 0.01


@pytest.mark.parametrize('target', ['mmdet', 'torchvision', 'detectron2'])
def test_a_recipe_that_dilates_its_last_stage(target, image, tmp_path):
    """Strides are no part of the weights: users load them into stock models."""
    path, out = trained({'strides': (1, 2, 2, 1), 'dilations': (1, 1, 1, 2)}, tmp_path), tmp_path / 'out'
    out = save_export(export_backbone(path, target), out.with_suffix('.pkl' if 'tron' in target else '.pth'))
    assert check_export(path, out, 'online', image) == 0


def test_a_narrow_network(image, tmp_path):
    path = trained({'base_channels': 16}, tmp_path)
    out = save_export(export_backbone(path, 'mmdet'), tmp_path / 'out.pth')
    assert check_export(path, out, 'online', image) == 0
    with pytest.raises(ValueError, match=r'64 channels.*this backbone 16 \(base_channels\)'):
        export_backbone(path, 'torchvision')


def trained(settings, folder):
    """A checkpoint of the small DetCon with these settings of its ResNet-18."""
    cfg = Config.fromfile(CONFIGS / 'detcon/detcon-b_resnet18_1xb64-coslr-6e_photos.py')
    cfg.model.backbone.update(settings)
    cfg.model.heads.masks.projector.channels = (8 * settings.get('base_channels', 64), 16, 8)
    cfg.model.heads.masks.predictor.channels = (8, 16, 8)
    with DefaultScope.overwrite_default_scope('densecl'):
        model = MODELS.build(cfg.model)
    path = folder / 'epoch_6.pth'
    torch.save(dict(meta=dict(cfg=cfg.pretty_text), state_dict=model.state_dict()), path)
    return path


def test_a_changed_file_shows(pretrained, image, tmp_path):
    export = export_backbone(pretrained[0], 'torchvision')
    export['state_dict']['layer2.0.conv1.weight'] *= 1.01
    out = save_export(export, tmp_path / 'a.pth')
    assert check_export(pretrained[0], out, 'online', image) > 1e-3


def test_without_a_config(image, pretrained, tmp_path):
    content = torch.load(pretrained[0], weights_only=True)
    out = save_export(export_backbone(content), tmp_path / 'a.pth')
    with pytest.raises(ValueError, match='carries no config'):
        check_export({'state_dict': content['state_dict']}, out, 'online', image)


SWIN = dict(
    type='TimmBackbone', model_name='swin_tiny_patch4_window7_224', embed_dim=8, depths=(1, 1, 1, 1),
    num_heads=(1, 2, 2, 4), img_size=64, window_size=2, out_indices=(3,), final_norm=True,
)  # fmt: skip
MASKED = {
    'ViT': dict(type='TimmViT', img_size=64, patch_size=8, embed_dim=16, depth=2, num_heads=2),
    'Swin': SWIN,
}


@pytest.mark.parametrize('name', MASKED)
def test_a_network_that_hid_patches(name, tmp_path):
    """Its export is that of the same network that hides nothing, and says so."""
    backbone = dict(MASKED[name], hidden='token')
    heads = dict(image=dict(objective='VICReg'))
    config = Config(dict(model=dict(type='SharedPretrainer', backbone=backbone, heads=heads)))
    with DefaultScope.overwrite_default_scope('densecl'):
        model = MODELS.build(config.model)
    file = dict(state_dict=model.state_dict(), meta=dict(cfg=config.pretty_text))
    assert 'backbone.mask_token' in file['state_dict']
    image = torch.randint(0, 256, (64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    for target in ('timm', 'safetensors'):
        export = export_backbone(file, target)
        assert 'mask_token' not in export['state_dict'] and 'hidden' not in export['meta']['how_to_load']
        out = save_export(export, tmp_path / f'a{".pth" if target == "timm" else ".safetensors"}')
        assert check_export(read_weights(file), out, 'online', image) < 1e-5
