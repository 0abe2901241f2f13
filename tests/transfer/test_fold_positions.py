"""A checkpoint of RASA with its matrix: features are those of the sequence, in probes and in exports."""

import sys
from runpy import run_path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from densecl.cli import main as densecl
from densecl.evaluation.features import FrozenEncoder, load_encoder
from densecl.models.necks.positions import without_directions
from densecl.registry import MODELS
from densecl.transfer import export_backbone, load_backbone, read_weights, save_export
from densecl.transfer.positions import without_positions

BACKBONES = {
    'resnet': (dict(type='TorchvisionResNet', arch='resnet18'), 512, -1),
    'lite0': (dict(type='TimmBackbone', model_name='tf_efficientnet_lite0', out_indices=(3, 4)), 320, -1),
    'vit': (dict(type='TimmViT', arch='vit_tiny_patch16_224', depth=2, out_indices=(0, 1)), 192, 1),
}


@pytest.fixture(params=BACKBONES)
def checkpoint(request, tmp_path):
    """Its path, the level, the directions of the two rounds of three that were begun."""
    backbone, channels, level = BACKBONES[request.param]
    head = dict(
        target=dict(type='Positions', patch=32),
        units=dict(type='Cells', level=level),
        projector=dict(type='PositionPredictor', channels=channels, rounds=3),
        objective='Reconstruction',
        pairs=((0, 0),),
    )
    config = dict(model=dict(type='SharedPretrainer', backbone=backbone, heads=dict(position=head)))
    torch.manual_seed(0)
    built = MODELS.build(dict(backbone, type=f'densecl.{backbone["type"]}'))
    rounds = torch.randn(3, 2, channels)
    tensors = {f'backbone.{key}': value for key, value in built.state_dict().items()}
    tensors |= {f'heads.position.projector.rounds.{i}': x for i, x in enumerate(rounds)}
    tensors['heads.position.projector.begun'] = torch.tensor(2)
    path = tmp_path / 'epoch_1.pth'
    torch.save(dict(state_dict=tensors, meta=dict(cfg=Config(config).pretty_text, epoch=1, iter=4)), path)
    return path, level, rounds[:2]


def folded_file(path):
    content, rounds, level = without_positions(read_weights(path))
    assert rounds == 2 and level in (-1, 1)
    out = path.with_name('folded.pth')
    torch.save(content, out)
    return out


IMAGES = torch.randint(0, 256, (2, 64, 64, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def maps_of(path, level):
    return load_encoder(path).maps(IMAGES, level)


def test_features_are_those_of_the_sequence(checkpoint):
    path, level, rounds = checkpoint
    before, after = maps_of(path, level), maps_of(folded_file(path), level)
    want = without_directions(before.permute(0, 2, 3, 1), rounds).permute(0, 3, 1, 2)
    scale = before.abs().max()
    torch.testing.assert_close(after / scale, want / scale, rtol=0, atol=2e-6)
    assert (after - before).abs().max() > 1e-3 * scale


@pytest.mark.parametrize('target', ['mmdet', 'mmseg', 'safetensors'])
def test_the_matrix_goes_along_in_exports(checkpoint, tmp_path, target):
    path, level, _ = checkpoint
    folded = folded_file(path)
    export = export_backbone(folded, target)
    assert "type': 'densecl.LinearLevel'" in export['meta']['how_to_load']
    end = '.safetensors' if target == 'safetensors' else '.pth'
    out = save_export(export, tmp_path / f'export{end}')
    torch.testing.assert_close(maps_of(out, level), maps_of(folded, level))
    config = dict(Config.fromstring(read_weights(folded).meta['cfg'], '.py').model.backbone)
    config |= dict(type='densecl.LinearLevel', network={**config['network']})
    config['network']['type'] = f'densecl.{config["network"]["type"]}'
    backbone = MODELS.build(config)
    report = load_backbone(backbone, out)
    assert not report.missing and not report.unexpected and not report.mismatched
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, export['state_dict'][name]), name


@pytest.mark.parametrize('target', ['timm', 'torchvision', 'detectron2', 'huggingface'])
def test_who_cannot_express_it_is_told(checkpoint, target):
    with pytest.raises(ValueError, match='export knows'):
        export_backbone(folded_file(checkpoint[0]), target)


def test_what_cannot_be_folded(tmp_path):
    path = tmp_path / 'a.pth'
    head = dict(projector=dict(type='PositionPredictor', channels=4))
    for heads, text in ((dict(other={}), 'no head'), (dict(position=head), 'no round of heads.position')):
        config = dict(model=dict(type='SharedPretrainer', backbone=dict(type='X'), heads=heads))
        begun = {'heads.position.projector.begun': torch.tensor(0), 'backbone.x': torch.zeros(1)}
        torch.save(dict(state_dict=begun, meta=dict(cfg=Config(config).pretty_text)), path)
        with pytest.raises(ValueError, match=text):
            without_positions(read_weights(path))


def test_the_tool_and_a_probe(checkpoint, tmp_path, monkeypatch, capsys, pytestconfig):
    path, _, _ = checkpoint
    rng = np.random.default_rng(0)
    for part in ('images', 'labels'):
        (tmp_path / 'set' / part).mkdir(parents=True)
    for i in range(24):
        image = rng.integers(0, 256, (64, 64, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f'set/images/{i}.png'), image)
        cv2.imwrite(str(tmp_path / f'set/labels/{i}.png'), (image[..., 0] > 127).astype(np.uint8))
    out = tmp_path / 'out.pth'
    tool = str(pytestconfig.rootpath / 'tools/fold_positions.py')
    given = [str(path), '--out', str(out), '--photos', str(tmp_path / 'set/images'), '--size', '96', '96']
    monkeypatch.setattr(sys, 'argv', [tool, *given])
    run_path(tool, run_name='__main__')
    said = capsys.readouterr().out
    assert 'the directions of 2 rounds' in said and 'before R^2' in said and 'after  R^2' in said
    if 'TorchvisionResNet' in torch.load(path, weights_only=True)['meta']['cfg']:  # a probe takes seconds
        with pytest.raises(SystemExit) as ended:
            densecl(['probe', str(out), '--labelled', str(tmp_path / 'set'), '--size', '64', '64'])
        assert not ended.value.code
        assert 'linear' in capsys.readouterr().out


@pytest.mark.parametrize('rounds', ['3', 'all'])
def test_directions_found_in_photos(tmp_path, monkeypatch, capsys, pytestconfig, rounds):
    """Of weights that know nothing of densecl, as torchvision saves them."""
    from torchvision.models import resnet18

    torch.manual_seed(0)
    torch.save(resnet18().state_dict(), tmp_path / 'resnet18.pth')
    rng = np.random.default_rng(0)
    (tmp_path / 'photos').mkdir()
    for i in range(12):
        photo = rng.integers(0, 100, (80, 80, 3)) + np.linspace(0, 150, 80)[:, None, None]  # bright below
        cv2.imwrite(str(tmp_path / f'photos/{i}.png'), photo.astype(np.uint8))
    tool, out = str(pytestconfig.rootpath / 'tools/fold_positions.py'), tmp_path / 'out.pth'
    given = [str(tmp_path / 'resnet18.pth'), '--fit', rounds, '--out', str(out), '--size', '96', '96']
    monkeypatch.setattr(sys, 'argv', [tool, *given])
    with pytest.raises(SystemExit, match='--fit finds directions in photos: give --photos FOLDER'):
        run_path(tool, run_name='__main__')
    monkeypatch.setattr(sys, 'argv', [tool, *given, '--photos', str(tmp_path / 'photos')])
    run_path(tool, run_name='__main__')
    said = capsys.readouterr().out
    assert ('3 planes are' if rounds == '3' else 'what linear functions know of position is') in said
    assert 'found in 6 photos' in said and 'after  R^2' in said
    found = load_encoder(out)
    plain = FrozenEncoder(found.backbone.network)
    matrix = found.backbone.linear.weight[..., 0, 0]
    want = torch.einsum('oc,bchw->bohw', matrix, plain.maps(IMAGES))
    torch.testing.assert_close(found.maps(IMAGES), want, rtol=1e-4, atol=1e-4)
    weights = torch.load(tmp_path / 'resnet18.pth', weights_only=True)
    torch.testing.assert_close(
        plain.backbone.state_dict()['layer4.1.conv2.weight'], weights['layer4.1.conv2.weight']
    )
