"""An export to Hugging Face's folder: read again here, and by transformers where it is installed."""

import json

import pytest
import torch
from mmengine.config import Config

from densecl.registry import MODELS
from densecl.transfer import export_backbone, find_start, save_export

VIT = dict(type='TimmViT', img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2)
BACKBONES = {
    'vit': dict(VIT, pos_embed='sincos-mae', hidden='dropped', init='mae'),
    'vit without biases of qkv': dict(VIT, qkv_bias=False, mlp_ratio=2),
    'dinov2': dict(VIT, init_values=0.5, hidden='token'),
    'dinov2_with_registers': dict(VIT, init_values=0.5, reg_tokens=3, no_embed_class=True),
}


def export_of(backbone, target='huggingface'):
    torch.manual_seed(0)
    model = MODELS.build(backbone)
    model.eval()  # of mm's backbones it returns nothing
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    images = dict(data_preprocessor=dict(type='PretrainDataPreprocessor', mean=[51.0] * 3, std=[102.0] * 3))
    config = Config(dict(model=dict(images, backbone=backbone, heads=dict(image={})))).pretty_text
    names = {f'backbone.{k}': v for k, v in model.state_dict().items()}
    return model, export_backbone(dict(state_dict=names, meta=dict(cfg=config)), target)


@pytest.mark.parametrize('name', BACKBONES)
def test_a_folder_gives_the_same_features(name, tmp_path):
    model, export = export_of(BACKBONES[name])
    folder = save_export(export, tmp_path / 'vit')
    assert sorted(p.name for p in folder.iterdir()) == [
        'config.json', 'model.safetensors', 'preprocessor_config.json',
    ]  # fmt: skip
    config = json.loads((folder / 'config.json').read_text())
    assert config['model_type'] == name.split()[0] and config['layer_norm_eps'] == 1e-6
    images = json.loads((folder / 'preprocessor_config.json').read_text())
    assert images['image_mean'] == [0.2] * 3 and images['image_std'] == [0.4] * 3
    start, x = find_start(folder), torch.randn(2, 3, 32, 32)
    assert start.mean == pytest.approx([51.0] * 3) and start.backbone['num_heads'] == 2
    for found, want in zip(start.build().eval()(x), model(x), strict=True):
        torch.testing.assert_close(found, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('name', BACKBONES)
def test_transformers_computes_the_same(name, tmp_path):
    transformers = pytest.importorskip('transformers', reason='transformers is not installed')
    model, export = export_of(BACKBONES[name])
    folder = save_export(export, tmp_path / 'vit')
    theirs, told = transformers.AutoModel.from_pretrained(folder, output_loading_info=True)
    assert not told['unexpected_keys'] and {k for k in told['missing_keys'] if 'pooler' not in k} == set()
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        tokens = theirs.eval()(x).last_hidden_state
        patches, token = model(x)
    torch.testing.assert_close(tokens[:, 0], token.flatten(1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(tokens[:, -16:], patches.flatten(2).mT, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    'backbone, reason',
    [
        (dict(VIT, arch='beit_base_patch16_224'), 'relative positions'),
        (dict(VIT, arch='vit_small_patch16_dinov3'), 'rotary positions'),
        (dict(VIT, reg_tokens=3), 'reg_token without layer scale'),
        (dict(VIT, reg_tokens=3, init_values=0.5), 'registers have no positions'),
        (dict(type='mmdet.ResNet', depth=18), 'vision transformers only'),
    ],
)
def test_what_has_no_place_there_is_named(backbone, reason):
    with pytest.raises(ValueError, match=reason):
        export_of(backbone)
