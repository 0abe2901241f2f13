"""The command, on real photos."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from densecl.registry import MODELS

ROOT = Path(__file__).parents[2]
CONFIG = 'configs/quickstart/densecl_resnet18_sample.py'


def test_views_and_matches(tmp_path):
    photos = sorted((ROOT / 'densecl/sample/detection/val').glob('*.jpg'))[:3]
    (tmp_path / 'photos').mkdir()
    for photo in photos:
        shutil.copy(photo, tmp_path / 'photos')
    cfg = Config.fromfile(ROOT / CONFIG)
    with DefaultScope.overwrite_default_scope('densecl'):
        model = MODELS.build(cfg.model)
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'a.pth')
    command = [
        sys.executable, 'tools/browse_views.py', CONFIG, '--num', '2',
        '--out', tmp_path / 'out', '--matches', tmp_path / 'a.pth',
        '--cfg-options', f'train_dataloader.dataset.data_root={tmp_path / "photos"}',
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {'PYTHONPATH': str(ROOT)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert '100 of 100 backbone tensors' in done.stdout
    assert 'cells of 2 pairs lie in both views' in done.stdout
    stems = [f'000000_{photos[0].stem}', f'000002_{photos[2].stem}']
    names = {f'{s}{end}.png' for s in stems for end in ('', '_matches')}
    assert {p.name for p in (tmp_path / 'out').iterdir()} == names
    assert all(cv2.imread(str(p)).std() > 10 for p in (tmp_path / 'out').iterdir())
