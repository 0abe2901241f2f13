"""Exports load into the models they are for, and compute the same features."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from mmdet.models.backbones import ResNet as DetResNet
from mmseg.models.backbones import ResNet as SegResNet
from safetensors import safe_open

from densecl.transfer import (
    backbone_features,
    export_backbone,
    feature_difference,
    load_backbone,
    read_weights,
    save_export,
)
from densecl.transfer.dialects import TARGETS

ROOT = Path(__file__).parents[2]
SUFFIX = {'safetensors': '.safetensors', 'detectron2': '.pkl'}


@pytest.fixture(params=['pretrained', 'pretrained50'])
def source(request):
    """(checkpoint, pretrainer, depth)."""
    depth = 50 if request.param.endswith('50') else 18
    return *request.getfixturevalue(request.param), depth


def strictly(model, state_dict, absent):
    result = model.load_state_dict(state_dict, strict=False)
    assert sorted(result.missing_keys) == sorted(absent) and not result.unexpected_keys
    return model


@pytest.mark.parametrize('branch', ['online', 'target'])
def test_each_project_computes_the_same(source, branch, batch):
    path, pretrainer, depth = source
    here = pretrainer.backbone if branch == 'online' else pretrainer.target.backbone
    other = pretrainer.target.backbone if branch == 'online' else pretrainer.backbone
    models = {
        'mmdet': (DetResNet(depth), []),
        'mmseg': (SegResNet(depth), []),
        'torchvision': (torchvision.models.get_model(f'resnet{depth}'), ['fc.bias', 'fc.weight']),
        'timm': (timm.create_model(f'resnet{depth}'), ['fc.bias', 'fc.weight']),
    }
    for target, (model, absent) in models.items():
        export = export_backbone(path, target, branch)
        strictly(model, export['state_dict'], absent)
        assert feature_difference(here, model, batch) == 0, target
        assert feature_difference(other, model, batch) > 0.01, target
    assert backbone_features(here, batch)[-1].abs().max() < 1e3


@pytest.mark.parametrize('target', [t for t in TARGETS if t != 'huggingface'])
def test_files_of_every_dialect_load_back(source, target, batch, tmp_path):
    path, pretrainer, depth = source
    out = save_export(export_backbone(path, target), tmp_path / f'a{SUFFIX.get(target, ".pth")}')
    assert [p.name for p in tmp_path.iterdir()] == [out.name]
    model = DetResNet(depth)
    report = load_backbone(model, out)
    assert report.fraction == 1 and not report.unexpected and report.branch == 'online'
    assert feature_difference(pretrainer.backbone, model, batch) == 0


def test_record(pretrained):
    meta = export_backbone(pretrained[0], 'mmdet', 'target')['meta']
    assert json.loads(json.dumps(meta)) == meta
    expected = dict(
        branch='target',
        backbone='mmdet.ResNet',
        depth=18,
        stem='plain',
        style='pytorch',
        channel_order='RGB',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        epoch=3,
        iter=30,
        config_name='mocov2_small',
        dialect='mmdet',
        method=dict(
            pretrainer='MomentumPretrainer',
            momentum=0.99,
            heads=dict(image=dict(units='Image', matching='SameRow', objective='InfoNCE')),
        ),
    )
    assert {key: meta[key] for key in expected} == expected
    assert "type='MomentumPretrainer'" in meta['config']


def test_safetensors_carries_the_record(pretrained, tmp_path):
    export = export_backbone(pretrained[0], 'safetensors')
    save_export(export, tmp_path / 'a.safetensors')
    with safe_open(str(tmp_path / 'a.safetensors'), framework='pt') as file:
        assert json.loads(file.metadata()['mean']) == [123.675, 116.28, 103.53]
        assert set(file.keys()) == set(export['state_dict'])
    meta = read_weights(tmp_path / 'a.safetensors').meta
    assert {k: meta[k] for k in export['meta']} == export['meta'] | {'format': meta['format']}


def test_an_export_can_be_exported_again(pretrained, tmp_path):
    first = save_export(export_backbone(pretrained[0], 'safetensors', 'target'), tmp_path / 'a.safetensors')
    again = export_backbone(first, 'mmdet', 'target')
    direct = export_backbone(pretrained[0], 'mmdet', 'target')
    assert again['meta'] == direct['meta']
    assert all(torch.equal(again['state_dict'][k], v) for k, v in direct['state_dict'].items())
    with pytest.raises(ValueError, match='no online branch'):
        export_backbone(first, 'mmdet', 'online')


def test_the_branch_that_the_method_evaluates_is_taken(pretrained, tmp_path):
    content = torch.load(pretrained[0], weights_only=True)
    target = export_backbone(content, 'mmdet', 'target')['state_dict']
    said = content | {'meta': content['meta'] | {'cfg': "model = dict(export_branch='target')"}}
    export = export_backbone(said)
    assert export['meta']['branch'] == 'target'
    assert all(torch.equal(export['state_dict'][k], v) for k, v in target.items())
    assert export_backbone(said, branch='online')['meta']['branch'] == 'online'
    assert load_backbone(DetResNet(18), said).branch == 'target'
    assert load_backbone(DetResNet(18), said, 'online').branch == 'online'
    again = export_backbone(save_export(export, tmp_path / 'a.pth'))  # an export says it itself
    assert again['meta']['branch'] == 'target'
    assert export_backbone(content)['meta']['branch'] == 'online'


def test_detectron2_file_is_what_its_converters_write(pretrained50, tmp_path):
    save_export(export_backbone(pretrained50[0], 'detectron2'), tmp_path / 'a.pkl')
    content = pickle.loads((tmp_path / 'a.pkl').read_bytes())
    assert content['matching_heuristics'] is True and content['__author__']
    assert {type(v).__name__ for v in content['model'].values()} == {'ndarray'}
    assert content['model']['res2.0.shortcut.norm.weight'].shape == (256,)


def test_detectron2_is_told_what_is_not_its_default(pretrained, pretrained50):
    """Its ResNet has the stride in the 1x1 convolution; its images are BGR and are not divided."""
    how = export_backbone(pretrained50[0], 'detectron2')['meta']['how_to_load']
    assert how.startswith('MODEL.WEIGHTS FILE MODEL.RESNETS.DEPTH 50 MODEL.RESNETS.STRIDE_IN_1X1 False ')
    assert "INPUT.FORMAT RGB MODEL.PIXEL_MEAN '[123.675, 116.28, 103.53]' MODEL.PIXEL_STD '[58.395" in how
    assert 'RES2_OUT_CHANNELS' not in how
    how = export_backbone(pretrained[0], 'detectron2')['meta']['how_to_load']
    assert 'MODEL.RESNETS.DEPTH 18 ' in how and 'MODEL.RESNETS.RES2_OUT_CHANNELS 64 ' in how


def test_neck_goes_along_for_mmdet_only():
    tensors = {
        'backbone.conv1.weight': torch.zeros(1),
        'backbone.layer1.0.conv1.weight': torch.zeros(1),
        'neck.fpn_convs.0.conv.weight': torch.ones(2),
        'heads.image.projector.0.weight': torch.ones(3),
    }
    tensors |= {f'target.{k}': v + 1 for k, v in tensors.items()}
    online = export_backbone({'state_dict': tensors}, 'mmdet')['state_dict']
    assert sorted(online) == ['conv1.weight', 'layer1.0.conv1.weight', 'neck.fpn_convs.0.conv.weight']
    target = export_backbone({'state_dict': tensors}, 'mmdet', 'target')['state_dict']
    assert target['neck.fpn_convs.0.conv.weight'].tolist() == [2, 2]
    without = export_backbone({'state_dict': tensors}, 'mmseg')['state_dict']
    assert 'neck.fpn_convs.0.conv.weight' not in without


def test_other_projects_checkpoints(batch, tmp_path):
    """MoCo's official layout: both encoders, DistributedDataParallel's prefix, an MLP as fc."""
    query, key = (torchvision.models.resnet18() for _ in range(2))
    tensors = {f'module.encoder_q.{k}': v for k, v in query.state_dict().items()}
    tensors |= {f'module.encoder_k.{k}': v for k, v in key.state_dict().items()}
    tensors |= {'module.queue': torch.zeros(8, 8)}
    for branch, model in (('online', query), ('target', key)):
        export = export_backbone({'state_dict': tensors, 'arch': 'resnet18'}, 'torchvision', branch)
        loaded = strictly(torchvision.models.resnet18(), export['state_dict'], ['fc.bias', 'fc.weight'])
        assert feature_difference(model, loaded, batch) == 0


def test_what_cannot_be_expressed_is_refused(pretrained):
    deep = {f'backbone.{k}': v for k, v in DetResNet(18, deep_stem=True).state_dict().items()}
    for target in ('torchvision', 'timm', 'detectron2'):
        with pytest.raises(ValueError, match='three 3x3'):
            export_backbone({'state_dict': deep}, target)
    assert export_backbone({'state_dict': deep}, 'mmseg')['meta']['stem'] == 'deep'
    caffe = "model = dict(backbone=dict(type='mmdet.ResNet', depth=50, style='caffe'))"
    tensors = {f'backbone.{k}': v for k, v in DetResNet(50).state_dict().items()}
    with pytest.raises(ValueError, match='stride in the 3x3'):
        export_backbone({'state_dict': tensors, 'meta': {'cfg': caffe}}, 'torchvision')
    vit = {'backbone.patch_embed.weight': torch.zeros(2)}
    with pytest.raises(ValueError, match="ResNets and timm's models only"):
        export_backbone({'state_dict': vit}, 'timm')
    assert list(export_backbone({'state_dict': vit}, 'mmdet')['state_dict']) == ['patch_embed.weight']
    with pytest.raises(ValueError, match="target must be 'mmdet', .*, got 'keras'"):
        export_backbone(pretrained[0], 'keras')
    with pytest.raises(ValueError, match='branch must be'):
        export_backbone(pretrained[0], 'mmdet', 'ema')


def test_missing_branch_says_what_is_there():
    tensors = {f'backbone.{k}': v for k, v in DetResNet(18).state_dict().items()}
    with pytest.raises(ValueError, match=r"no target branch; it holds online \('backbone\.\*'\)"):
        export_backbone({'state_dict': tensors}, 'mmdet', 'target')
    with pytest.raises(ValueError, match='no backbone at all'):
        export_backbone({'state_dict': {'a.b': torch.zeros(1)}})


def test_tensors_are_copies_of_their_own_size(pretrained):
    big = torch.randn(100, 4)
    tensors = {'backbone.conv1.weight': big[:2], 'backbone.layer1.0.conv1.weight': big.t()}
    out = export_backbone({'state_dict': tensors})['state_dict']
    assert out['conv1.weight'].untyped_storage().nbytes() == 2 * 4 * 4
    assert out['layer1.0.conv1.weight'].is_contiguous()


def test_a_failed_write_leaves_the_old_file(pretrained, tmp_path, monkeypatch):
    out = tmp_path / 'a.pth'
    out.write_text('old')
    export = export_backbone(pretrained[0])

    def half(content, path):
        Path(path).write_bytes(b'half')
        raise OSError('disk full')

    monkeypatch.setattr(torch, 'save', half)
    with pytest.raises(OSError, match='disk full'):
        save_export(export, out)
    assert out.read_text() == 'old' and list(tmp_path.iterdir()) == [out]


KILLED = """
import os, sys, torch
import densecl.transfer.export as export
def killed(content, path):
    open(path, 'wb').write(b'half')
    os._exit(9)
torch.save = killed
export.save_export({'state_dict': {}, 'meta': {'dialect': 'mmdet'}}, sys.argv[1])
"""


def test_a_killed_write_leaves_the_old_file(tmp_path):
    out = tmp_path / 'a.pth'
    out.write_text('old')
    env = os.environ | {'PYTHONPATH': str(ROOT)}
    done = subprocess.run([sys.executable, '-c', KILLED, str(out)], env=env, check=False)
    assert done.returncode == 9
    assert out.read_text() == 'old'
    left = [p.name for p in tmp_path.iterdir() if p != out]
    assert len(left) == 1 and left[0].startswith('.a.pth.') and left[0].endswith('.tmp')


def test_command(pretrained, tmp_path):
    out = tmp_path / 'b.safetensors'
    command = [sys.executable, 'tools/export.py', str(pretrained[0]), '--to', 'safetensors']
    env = os.environ | {'PYTHONPATH': str(ROOT)}
    done = subprocess.run(
        [*command, '--branch', 'target', '--out', str(out)],
        cwd=ROOT, env=env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip().endswith(str(out)) and out.is_file()
    assert 'target branch: 120 backbone tensors' in done.stdout
    assert 'backbone.* 120' not in done.stdout.split('in the checkpoint')[0]
