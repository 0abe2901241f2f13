"""Real runs through the command: planned, carried out, resumed, run again by tools/train.py, exported."""

import json
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import densecl as package
from densecl.cli import doctor
from densecl.runs.manifest import hash_files
from densecl.tools import run_tool

TINY = ('--size', '32', '--estimate', '--hours', '0.0001')


@pytest.fixture(scope='module')
def run_folder(photos, tmp_path_factory):
    """A finished run from random weights."""
    return tmp_path_factory.mktemp('runs') / 'a'


def test_pretrain_writes_a_whole_run(densecl, photos, labelled, run_folder):
    code, out, err = densecl(
        'pretrain', photos, '--start', 'random', '--out', run_folder, '--labelled', labelled,
        '--log-to', 'tensorboard', *TINY,
        '--cfg-options', 'train_dataloader.batch_size=8', 'model.heads.image.loss_weight=0.25',
    )  # fmt: skip
    assert code == 0, err
    # the reasons, then the leak, before any figure
    assert out.index('view_size') < out.index('leak check: 12 of the 12 scored photos are')
    settings = {s['name']: s for s in json.loads((run_folder / 'settings.json').read_text())}
    assert settings['batch'] == dict(name='batch', value=8, reason='as --cfg-options says')
    assert settings['view_size']['reason'] == 'as you asked'
    manifest = json.loads((run_folder / 'manifest.json').read_text())
    assert manifest['photos']['count'] == 24 and manifest['start'] == {'name': 'random'}
    cfg = Config.fromfile(run_folder / 'config.py')
    assert cfg.manifest == manifest['photos']['sha256'] == hash_files([str(p) for p in photos.iterdir()])
    assert cfg.views[0].size == 32
    assert cfg.cfg_options == {'train_dataloader.batch_size': 8, 'model.heads.image.loss_weight': 0.25}
    assert (run_folder / 'config.py').read_text().startswith('"""Pretraining on')
    curves = EventAccumulator(str(next(run_folder.glob('*/vis_data')))).Reload()
    logged = [json.loads(line) for line in next(run_folder.glob('*/vis_data/scalars.json')).open()]
    for name in ('loss', 'guard/linear_miou'):
        of_json = [(line['step'], line[name]) for line in logged if name in line]
        assert [(e.step, e.value) for e in curves.Scalars(name)] == [
            (s, pytest.approx(v)) for s, v in of_json
        ]
        assert of_json
    run = package.Run(run_folder)
    assert run.checkpoint.name == f'iter_{settings["steps"]["value"]}.pth'
    assert torch.load(run.checkpoint, weights_only=False)['message_hub'] is not None
    assert f'weights: {run.best}' in out


def test_the_config_runs_again_unchanged(run_folder, tmp_path):
    before = (run_folder / 'config.py').read_text()
    options = ('--cfg-options', 'train_cfg.max_epochs=1')
    run_tool('train', [str(run_folder / 'config.py'), '--work-dir', str(tmp_path), *options])
    assert (tmp_path / 'last_checkpoint').is_file()
    assert (run_folder / 'config.py').read_text() == before


def test_resume_goes_on(densecl, photos, run_folder):
    steps = int(package.Run(run_folder).checkpoint.stem.split('_')[1])
    epochs = steps // 3 + 1
    more = f'train_cfg.max_epochs={epochs}'
    code, out, err = densecl('pretrain', photos, '--out', run_folder, '--resume', '--cfg-options', more)
    assert code == 0, err
    # what is not given again is as in the command that began the run: 3 steps an epoch
    run = package.Run(run_folder)
    assert run.checkpoint.name == f'iter_{3 * epochs}.pth'
    whole = Config.fromstring(torch.load(run.checkpoint, weights_only=False)['meta']['cfg'], '.py')
    assert whole.train_dataloader.batch_size == 8 and whole.model.heads.image.loss_weight == 0.25
    assert 'train_cfg.max_epochs: from here on as given now' in out


def test_resume_with_other_photos_says_so(densecl, photos, run_folder, tmp_path):
    for path in sorted(photos.iterdir())[:9]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    more = ('--resume', '--method', 'mocov2', '--size', '64')
    code, out, err = densecl('pretrain', tmp_path, '--out', run_folder, *more)
    assert code == 0, err
    assert '9 photos, not the 24 that the run began with' in out
    assert '--method, --size: not used, the run goes on with the settings of its config.py' in out


def test_export_of_a_run_and_its_guard(densecl, run_folder, tmp_path):
    code, out, err = densecl('export', run_folder, '--to', 'torchvision', '--out', tmp_path / 'backbone.pth')
    assert code == 0, err
    exported = torch.load(tmp_path / 'backbone.pth', weights_only=True)
    assert exported['state_dict']['conv1.weight'].shape == (64, 3, 7, 7)
    run = package.Run(run_folder)
    assert run.export(tmp_path / 'again.pth', to='torchvision').is_file()
    again = torch.load(tmp_path / 'again.pth', weights_only=True)
    assert all(torch.equal(value, again['state_dict'][key]) for key, value in exported['state_dict'].items())


def test_plan_writes_nothing(densecl, photos, tmp_path):
    code, out, err = densecl(
        'plan', photos, '--start', 'random', '--out', tmp_path / 'run', '--size', '32', '--config'
    )
    assert code == 0, err
    assert 'measured: 2 steps of 16 photos took' in out
    assert 'time: about' in out and 'disk: ' in out and 'memory: ' in out
    assert "_base_ = ['densecl::densecl/densecl_resnet18_1xb64-coslr-6e_photos.py']" in out
    assert not (tmp_path / 'run').exists()


def test_doctor_knows_every_extra():
    text = (Path(package.__file__).parents[1] / 'setup.py').read_text()
    extras = set(re.findall(r"^    '(\w+)': \[", text, re.MULTILINE)) - {'tests'}
    assert extras == set(doctor.EXTRAS)


def test_doctor_lists_what_there_is(densecl):
    code, out, _ = densecl('doctor')
    assert code == 0
    assert 'mmengine' in out and 'machine: ' in out
    assert 'finetune on boxes' in out and '--start imagenet' in out
