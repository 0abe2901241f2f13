"""Pictures of slots: who wins which pixel, in which colour, and the command on real photos."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from densecl.registry import MODELS
from densecl.visualization import assigned, draw_groups, draw_slots, palette_of

ROOT = Path(__file__).parents[2]
CONFIG = 'configs/slotcon/slotcon_resnet18_1xb64-coslr-6e_photos.py'


def halves(slots: int, left: int, right: int) -> torch.Tensor:
    """Scores of a 2 x 4 grid whose left half one slot wins and whose right half another."""
    scores = torch.zeros(slots, 2, 4)
    scores[left, :, :2] = 1
    scores[right, :, 2:] = 1
    return scores


def test_each_pixel_goes_to_the_best_slot():
    assignment = assigned(halves(7, 3, 5), (20, 40))
    assert (assignment[:, :20] == 3).all() and (assignment[:, 20:] == 5).all()


def test_groups_have_the_colours_of_the_palette():
    image = np.full((100, 200, 3), 50, np.uint8)
    assignment = assigned(halves(7, 3, 5), (100, 200))
    palette = {3: (200, 0, 100)}
    sheet = draw_groups(image, assignment, palette, height=100)
    assert np.array_equal(sheet[:, :200], image)  # the picture itself comes first
    painted = sheet[:, -200:]
    assert painted[5, 5].tolist() == [140, 20, 80]  # 0.4 * 50 + 0.6 * colour
    assert painted[5, 195].tolist() == [50, 50, 50]  # not in the palette
    assert (painted[5, 98:102] == 255).all(-1).any()  # a border between them
    assert (image == 50).all()
    other = draw_groups(image, assignment, height=50)
    assert other.shape[0] == 50 and (other[3, -3] != other[3, -97]).any()


def test_palette_goes_by_area():
    assert list(palette_of({4: 1, 9: 8, 2: 3})) == [9, 2, 4]
    assert palette_of({4: 1, 9: 8})[9] == palette_of({9: 8})[9]


def test_a_row_shows_where_its_slot_is_best():
    images = [np.full((20, 40, 3), value, np.uint8) for value in (100, 200)]
    scores = [halves(7, 3, 5), halves(7, 3, 5) * 2]
    row = draw_slots(images, scores, [5], count=1, height=20)
    assert row.shape == (20, 40, 3)
    assert row[10, 35].tolist() == [200, 200, 200] and row[18, 15].tolist() == [50, 50, 50]
    assert draw_slots(images, scores, [5, 3], height=20).shape[0] == 46


def test_command(tmp_path):
    photos = sorted((ROOT / 'densecl/sample/photos/clothing').glob('*.jpg'))[:3]
    (tmp_path / 'photos').mkdir()
    for photo in photos:
        shutil.copy(photo, tmp_path / 'photos')
    cfg = Config.fromfile(ROOT / CONFIG)
    with DefaultScope.overwrite_default_scope('densecl'):
        model = MODELS.build(cfg.model)
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'a.pth')
    command = [
        sys.executable, '-m', 'densecl', 'browse_groups', CONFIG, tmp_path / 'a.pth', '--num', '2',
        '--size', '96', '--out', tmp_path / 'out',
        '--cfg-options', f'train_dataloader.dataset.data_root={tmp_path / "photos"}',
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {'PYTHONPATH': str(ROOT)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert 'of 64 slots win a cell somewhere' in done.stdout
    names = {f'{photos[0].stem}.png', f'{photos[2].stem}.png', 'slots.png'}
    assert {p.name for p in (tmp_path / 'out').iterdir()} == names
    assert all(cv2.imread(str(p)).std() > 10 for p in (tmp_path / 'out').iterdir())
