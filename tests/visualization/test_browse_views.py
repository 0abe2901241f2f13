"""The command, on real photos."""

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from densecl.registry import MODELS
from densecl.tools import run_tool

ROOT = Path(__file__).parents[2]
CONFIG = 'configs/quickstart/densecl_resnet18_sample.py'
PYRAMID = 'configs/pixpro/pixpro_resnet18_fpn_1xb64-coslr-6e_photos.py'


@pytest.fixture
def photos(tmp_path):
    photos = sorted((ROOT / 'densecl/sample/detection/val').glob('*.jpg'))[:3]
    (tmp_path / 'photos').mkdir()
    for photo in photos:
        shutil.copy(photo, tmp_path / 'photos')
    return photos


def arguments(config, tmp_path, *more):
    options = ['--cfg-options', f'train_dataloader.dataset.data_root={tmp_path / "photos"}']
    command = [ROOT / config, '--num', '2', '--out', tmp_path / 'out', *more, *options]
    return [str(argument) for argument in command]


@pytest.fixture
def browse(tmp_path, capsys):
    """``browse(config, '--matches')``: what the tool prints."""

    def run(config, *more):
        run_tool('browse_views', arguments(config, tmp_path, *more))
        return capsys.readouterr().out

    return run


def test_views_and_matches(tmp_path, photos):
    cfg = Config.fromfile(ROOT / CONFIG)
    with DefaultScope.overwrite_default_scope('densecl'):
        model = MODELS.build(cfg.model)
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'a.pth')
    command = [sys.executable, 'tools/browse_views.py']
    command += arguments(CONFIG, tmp_path, '--matches', tmp_path / 'a.pth')
    env = os.environ | {'PYTHONPATH': str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert '100 of 100 backbone tensors' in done.stdout
    assert 'has no heads.' not in done.stdout
    assert 'cells of 2 pairs lie in both views' in done.stdout
    stems = [f'000000_{photos[0].stem}', f'000002_{photos[2].stem}']
    names = {f'{s}{end}.png' for s in stems for end in ('', '_matches')}
    assert {p.name for p in (tmp_path / 'out').iterdir()} == names
    assert all(cv2.imread(str(p)).std() > 10 for p in (tmp_path / 'out').iterdir())


def test_the_head_of_a_checkpoint_fits_but_for_its_queue(tmp_path, photos):
    cfg = Config.fromfile(ROOT / CONFIG)
    cfg.merge_from_dict({f'model.heads.{name}.objective.queue': 64 for name in cfg.model.heads})
    with DefaultScope.overwrite_default_scope('densecl'):
        model = MODELS.build(cfg.model)
    tool = runpy.run_path(str(ROOT / 'tools/browse_views.py'))
    wanted = {
        key: torch.full_like(value, 0.5) for key, value in model.heads.dense.projector.state_dict().items()
    }
    state = model.state_dict() | {f'heads.dense.projector.{key}': value for key, value in wanted.items()}
    torch.save({'state_dict': {k: v for k, v in state.items() if 'queue' not in k}}, tmp_path / 'a.pth')
    tool['load'](model, model.heads.dense, str(tmp_path / 'a.pth'))
    assert all(torch.equal(v, wanted[k]) for k, v in model.heads.dense.projector.state_dict().items())
    name = next(key for key in state if key.startswith('heads.dense.projector.'))
    torch.save({'state_dict': state | {name: state[name][:1]}}, tmp_path / 'b.pth')
    with pytest.raises(ValueError, match=f'b.pth: {name} is missing or of another size'):
        tool['load'](model, model.heads.dense, str(tmp_path / 'b.pth'))


def test_matches_by_location_need_no_checkpoint(browse, tmp_path, photos):
    """Of a level of a pyramid; matched cells lie far closer together than chance."""
    out = browse(PYRAMID, '--head', 'p4', '--matches')
    assert 'cells of 2 pairs lie in both views' in out
    ratio = float(out.rsplit('(', 1)[1].split(')')[0])
    assert ratio < 0.5
    assert all(cv2.imread(str(p)).std() > 10 for p in (tmp_path / 'out').iterdir())


def test_masked_patches_are_grey_on_the_sheet(browse, tmp_path, photos):
    config = tmp_path / 'masked.py'
    config.write_text(
        f"""_base_ = '{ROOT / CONFIG}'
mask = dict(type='RandomMask', patch=16, ratio=0.75)
views = [dict(count=1, size=96, mask=mask), dict(count=1, size=96)]
train_dataloader = dict(dataset=dict(pipeline=[dict(type='MultiView', views=views)]))
"""
    )
    browse(config)
    for path in (tmp_path / 'out').iterdir():
        grey = (cv2.imread(str(path))[20:244] == 128).all(2)  # below the titles
        first, second = grey[:, -454:-230].mean(), grey[:, -224:].mean()
        assert 0.65 < first < 0.76 and second < 0.02  # the borders of patches are blurred


@pytest.mark.parametrize(
    ('method', 'said'),
    [('scrl', []), ('resim', []), ('slotcon', ['same slot: ']), ('vicregl', ['0 Near', '1 Near'])],
)
def test_regions_slots_and_several_rules(browse, tmp_path, photos, method, said):
    """What heads that do not match cell by cell compare; a line of distances for each rule."""
    config = f'configs/{method}/{method}_resnet18_1xb64-coslr-6e_photos.py'
    out = browse(config, '--matches')
    lines = [line for line in out.splitlines() if 'lie in both views' in line]
    assert len(lines) == len(said)
    assert all(line.startswith(start) for line, start in zip(lines, said, strict=True))
    assert len(list((tmp_path / 'out').glob('*_matches.png'))) == 2
    assert all(cv2.imread(str(p)).std() > 10 for p in (tmp_path / 'out').iterdir())


def test_a_view_maker_that_the_checkpoint_has_not_stays_as_it_is(tmp_path, capsys):
    tool = runpy.run_path(str(ROOT / 'tools/browse_views.py'))
    cfg = Config.fromfile(ROOT / 'configs/viewmaker/viewmaker_resnet18_1xb64-coslr-6e_photos.py')
    with DefaultScope.overwrite_default_scope('densecl'):
        model, other = MODELS.build(cfg.model), MODELS.build(cfg.model)
    state, before = other.state_dict(), {k: v.clone() for k, v in model.view_maker.state_dict().items()}
    for kept, values in ((False, before), (True, other.view_maker.state_dict())):
        names = [name for name in state if kept or not name.startswith('view_maker.')]
        torch.save({'state_dict': {name: state[name] for name in names}}, tmp_path / 'a.pth')
        tool['load'](model, None, str(tmp_path / 'a.pth'))
        assert ('a.pth has no view_maker.*: its weights are untrained' in capsys.readouterr().out) != kept
        assert all(torch.equal(v, values[k]) for k, v in model.view_maker.state_dict().items())
