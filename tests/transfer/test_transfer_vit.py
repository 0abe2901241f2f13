"""Vision transformers: timm's names and mmseg's, there and back, and the same features."""

import json
from pathlib import Path

import pytest
import timm
import torch
from mmengine.config import Config
from safetensors import safe_open

from densecl.cli import main
from densecl.registry import MODELS
from densecl.transfer import (
    backbone_features,
    check_export,
    export_backbone,
    feature_difference,
    load_backbone,
    save_export,
)
from densecl.transfer.dialects import TARGETS
from densecl.transfer.vit import DIALECTS, inexpressible, to_dialect, vit_dialect

ROOT = Path(__file__).parents[2]
TIMM_VIT = dict(type='TimmViT', num_heads=3, embed_dim=192, depth=4, img_size=96)
MMSEG_VIT = dict(
    type='mmseg.VisionTransformer', img_size=96, embed_dims=192, num_layers=4, num_heads=3,
    patch_bias=True, final_norm=True, norm_cfg=dict(type='LN', eps=1e-6),
)  # fmt: skip


def scrambled(model, seed):
    """Every tensor its own values, large enough that a wrong step shows."""
    generator = torch.Generator().manual_seed(seed)
    for tensor in model.state_dict().values():
        scale = tensor[0].numel() ** -0.5 if tensor.ndim in (2, 4) else 0.3
        tensor.copy_(torch.randn(tensor.shape, generator=generator) * scale)
    return model


def mmseg_vit(**kwargs):
    return MODELS.build({**MMSEG_VIT, **kwargs})


@pytest.fixture(scope='module')
def pretrained(tmp_path_factory):
    """(checkpoint, pretrainer) of a momentum pretrainer on a slim TimmViT; its branches differ."""
    config = Config(
        dict(
            model=dict(
                type='MomentumPretrainer',
                momentum=0.99,
                backbone=dict(TIMM_VIT, drop_path=0.1),
                heads=dict(
                    image=dict(
                        projector=dict(type='MLP', channels=(192, 16)),
                        objective=dict(type='InfoNCE', temperature=0.2, queue=32, dim=16),
                    )
                ),
            )
        )
    )
    model = MODELS.build(config.model).eval()
    scrambled(model.backbone, 1)
    scrambled(model.target.backbone, 2)
    path = tmp_path_factory.mktemp('vit') / 'epoch_3.pth'
    meta = dict(cfg=config.pretty_text, epoch=3, iter=30, experiment_name='mocov3_slim')
    torch.save(dict(meta=meta, state_dict=model.state_dict()), path)
    return path, model


@pytest.fixture(scope='module')
def images():
    return torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize('branch', ['online', 'target'])
def test_each_project_computes_the_same(pretrained, branch, images):
    path, pretrainer = pretrained
    here = pretrainer.backbone if branch == 'online' else pretrainer.target.backbone
    other = pretrainer.target.backbone if branch == 'online' else pretrainer.backbone
    own = timm.models.VisionTransformer(
        img_size=96, embed_dim=192, depth=4, num_heads=3, num_classes=0, dynamic_img_size=True
    )
    for target, model in (('timm', own), ('mmseg', mmseg_vit()), ('mmdet', mmseg_vit())):
        export = export_backbone(path, target, branch)
        model.load_state_dict(export['state_dict'], strict=True)
        assert feature_difference(here, model, images) < 1e-4, target
        assert feature_difference(other, model, images) > 0.1, target
    assert 1 < backbone_features(here, images)[-1].abs().max() < 1e2


def test_positions_are_resized_alike(pretrained):
    """At another size than that of pretraining, TimmViT and mmseg's ViT still agree."""
    model = mmseg_vit()
    load_backbone(model, pretrained[0])
    for size in ((160, 64), (70, 100)):
        images = torch.randn(1, 3, *size)
        assert feature_difference(pretrained[1].backbone, model, images) < 1e-4


@pytest.mark.parametrize('target', DIALECTS)
@pytest.mark.parametrize('receiver', [TIMM_VIT, MMSEG_VIT], ids=['timm', 'mmseg'])
def test_files_of_every_dialect_load_everywhere(pretrained, target, receiver, images, tmp_path):
    suffix = '.safetensors' if target == 'safetensors' else '.pth'
    out = save_export(export_backbone(pretrained[0], target, 'target'), tmp_path / f'a{suffix}')
    model = MODELS.build(receiver)
    report = load_backbone(model, out)
    assert report.fraction == 1 and report.total == len(model.state_dict()) == 54
    assert not report.unexpected and report.branch == 'target' and report.resized is None
    assert set(report.matched) == set(model.state_dict())  # said in the model's own names
    assert feature_difference(pretrained[1].target.backbone, model, images) < 1e-4
    assert check_export(pretrained[0], out, 'target', torch.zeros(96, 96, 3, dtype=torch.uint8)) < 1e-4


def test_mmsegs_vit_is_exported_too(images):
    """Pretrained by scope: its own names stay for mmseg and become timm's for timm."""
    vit = scrambled(mmseg_vit(output_cls_token=True), 3)
    config = Config(dict(model=dict(backbone=dict(MMSEG_VIT, output_cls_token=True))))
    tensors = {f'backbone.{k}': v for k, v in vit.state_dict().items()}
    content = dict(state_dict=tensors, meta=dict(cfg=config.pretty_text))
    assert set(export_backbone(content, 'mmseg')['state_dict']) == set(vit.state_dict())
    export = export_backbone(content, 'timm')
    assert export['meta']['num_heads'] == 3 and export['meta']['norm_eps'] == 1e-6
    twin = MODELS.build(TIMM_VIT)
    twin.load_state_dict(export['state_dict'], strict=True)
    assert feature_difference(vit, twin, images) < 1e-4
    vit.eval(), twin.eval()  # mmseg's eval() returns nothing
    pair = vit(images)[-1]
    torch.testing.assert_close(pair[1], twin(images)[-1][:, :, 0, 0], atol=1e-4, rtol=1e-4)


def test_names_there_and_back():
    timms = MODELS.build(TIMM_VIT).state_dict()
    mmsegs = to_dialect(timms, 'mmseg')
    assert set(mmsegs) == set(mmseg_vit().state_dict())
    assert (vit_dialect(timms), vit_dialect(mmsegs)) == ('timm', 'mmseg')
    back = to_dialect(mmsegs, 'timm')
    assert all(back[k] is v for k, v in timms.items()) and len(back) == len(timms)
    swin = MODELS.build(dict(type='mmdet.SwinTransformer', embed_dims=24, depths=(1, 1, 1, 1)))
    assert vit_dialect(swin.state_dict()) is None
    assert to_dialect(swin.state_dict(), 'timm').keys() == swin.state_dict().keys()


def test_record(pretrained, tmp_path):
    export = export_backbone(pretrained[0], 'mmdet')
    expected = dict(
        backbone='TimmViT', depth=4, embed_dim=192, num_heads=3, patch_size=16, image_size=96,
        norm_eps=1e-6, stem=None, channel_order='RGB', branch='online', dialect='mmdet', epoch=3,
    )  # fmt: skip
    assert {k: export['meta'][k] for k in expected} == expected
    assert json.loads(json.dumps(export['meta'])) == export['meta']
    how = export['meta']['how_to_load']
    config = eval(how[how.index('dict(') : how.index(' and --pretrained')])  # a config one can copy
    model = MODELS.build(dict(config, final_norm=True))
    assert load_backbone(model, export).fraction == 1
    save_export(export_backbone(pretrained[0], 'safetensors'), tmp_path / 'a.safetensors')
    with safe_open(str(tmp_path / 'a.safetensors'), framework='pt') as file:
        assert json.loads(file.metadata()['num_heads']) == 3
        assert 'blocks.3.mlp.fc2.bias' in set(file.keys())


def test_heads_of_an_architecture_that_names_none():
    vit = MODELS.build(dict(type='TimmViT', arch='vit_tiny_patch16_224', depth=1))
    tensors = {f'backbone.{k}': v for k, v in vit.state_dict().items()}
    text = "model = dict(backbone=dict(type='TimmViT', arch='vit_tiny_patch16_224', depth=1))"
    meta = export_backbone(dict(state_dict=tensors, meta=dict(cfg=text)), 'timm')['meta']
    assert (meta['num_heads'], meta['depth'], meta['image_size']) == (3, 1, 224)
    assert export_backbone(dict(state_dict=tensors), 'timm')['meta']['num_heads'] is None


def test_positions_of_another_grid(pretrained):
    """6x6 to 10x10 as torch interpolates, the class token's kept; the report says so."""
    model = mmseg_vit(img_size=160)
    report = load_backbone(model, export_backbone(pretrained[0], 'mmseg'))
    assert report.resized == 'pos_embed 6x6 -> 10x10' and report.fraction == 1
    assert 'resized     pos_embed 6x6 -> 10x10' in str(report)
    source = pretrained[1].backbone.pos_embed
    patches = source[:, 1:].reshape(1, 6, 6, 192).permute(0, 3, 1, 2)
    patches = torch.nn.functional.interpolate(patches, (10, 10), mode='bicubic')
    assert torch.equal(model.pos_embed[:, 1:], patches.flatten(2).mT)
    assert torch.equal(model.pos_embed[:, :1], source[:, :1])


@pytest.mark.parametrize(
    'changed, message',
    [
        (dict(num_heads=6), 'trained with 3 attention heads, the model has 6: set backbone.num_heads=3'),
        (dict(patch_bias=False), 'set backbone.patch_bias=True'),
        (dict(qkv_bias=False), 'set backbone.qkv_bias=True'),
        (dict(num_layers=3), '4 blocks of 192 channels, the model has 3 of 192'),
        (dict(embed_dims=96), 'the model has 4 of 96'),
        (dict(img_size=(96, 64)), 'only square grids'),
    ],
)
def test_misfits_are_refused(pretrained, changed, message):
    model = mmseg_vit(**changed)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(RuntimeError, match=message):
        load_backbone(model, pretrained[0])
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_another_kind_of_network_is_refused(pretrained):
    with pytest.raises(RuntimeError, match='0 of 100 backbone tensors match'):
        load_backbone(MODELS.build(dict(type='mmdet.ResNet', depth=18)), pretrained[0])


def test_another_epsilon_is_warned_about(pretrained):
    report = load_backbone(mmseg_vit(norm_cfg=dict(type='LN')), pretrained[0])
    assert any('eps 1e-06, the model has 1e-05' in text for text in report.warnings)
    assert not load_backbone(mmseg_vit(), pretrained[0]).warnings


def test_without_final_norm_it_is_merely_left_over(pretrained):
    """UPerNet reads raw blocks: no reason to refuse."""
    report = load_backbone(mmseg_vit(final_norm=False), pretrained[0])
    assert report.unexpected == ['ln1.weight', 'ln1.bias'] and report.fraction == 1


def test_official_layouts(images):
    """DINO's and MoCo v3's files: one state dict a branch, a head beside the blocks."""
    vits = [scrambled(MODELS.build(TIMM_VIT), seed) for seed in (4, 5)]
    head = {'head.0.weight': torch.zeros(3, 192)}
    states = [dict(v.state_dict(), **head) for v in vits]
    dino = {
        name: {f'module.backbone.{k}': v for k, v in state.items()}
        for name, state in zip(('student', 'teacher'), states, strict=True)
    }
    mocov3 = {f'module.base_encoder.{k}': v for k, v in states[0].items()}
    mocov3 |= {f'module.momentum_encoder.{k}': v for k, v in states[1].items()}
    for content in (dino, {'state_dict': mocov3}):
        for branch, vit in (('online', vits[0]), ('target', vits[1])):
            model = mmseg_vit()
            report = load_backbone(model, export_backbone(content, 'mmseg', branch))
            assert not report.unexpected and feature_difference(vit, model, images) < 1e-4
            load_backbone(model, content, branch)
            assert feature_difference(vit, model, images) < 1e-4


def test_what_cannot_be_expressed_is_refused(pretrained):
    for target in set(TARGETS) - {*DIALECTS, 'huggingface'}:
        with pytest.raises(ValueError, match=f'{target} export knows no vision transformers'):
            export_backbone(pretrained[0], target)
    scaled = MODELS.build(dict(TIMM_VIT, init_values=0.1)).state_dict()
    assert inexpressible(scaled, 'timm') == [] and len(inexpressible(scaled, 'mmseg')) == 8
    content = {'state_dict': {f'backbone.{k}': v for k, v in scaled.items()}}
    with pytest.raises(ValueError, match=r'no counterpart for blocks\.0\.ls1\.gamma'):
        export_backbone(content, 'mmdet')
    assert export_backbone(content, 'timm')['state_dict'].keys() == scaled.keys()


def test_loading_into_the_pretrainer_renews_its_target(pretrained):
    model = MODELS.build(Config.fromstring(_config_of(pretrained[0]), '.py').model)
    load_backbone(model, export_backbone(pretrained[0], 'mmseg', 'target'))
    wanted = pretrained[1].target.backbone.state_dict()
    for branch in (model.backbone, model.target.backbone):
        assert all(torch.equal(wanted[k], v) for k, v in branch.state_dict().items())


def _config_of(path):
    return torch.load(path, weights_only=True)['meta']['cfg']


def test_command(pretrained, tmp_path, capsys):
    photo = next((ROOT / 'densecl' / 'sample' / 'photos').rglob('*.jpg'))
    options = ['--to', 'mmdet', '--out', str(tmp_path / 'a.pth'), '--check', str(photo)]
    with pytest.raises(SystemExit, match='0'):
        main(['export', str(pretrained[0]), *options])
    out = capsys.readouterr().out
    assert '54 backbone tensors' in out and 'num_heads     3' in out
    difference = float(out.split('largest difference to the source ')[1].split()[0])
    assert difference < 1e-4
