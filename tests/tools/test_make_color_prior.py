"""tools/make_color_prior.py counts the colours of the views that heads read, a file for each head."""

import copy
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from densecl.colors import rgb_to_lab
from densecl.models.targets.color_bins import gamut_bins, soft_bins

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools/make_color_prior.py'
RECIPE = ROOT / 'configs/colorization/colorization_resnet18_1xb64-coslr-16e_photos.py'
COLOR = (200, 60, 40)


@pytest.fixture
def make(tmp_path, monkeypatch, capsys):
    """``make(first=1, second=None)``: what the tool prints. A head reads view 0, which is grey, or view 1,
    which is of one colour; with None its target has no file."""
    (tmp_path / 'photos').mkdir()
    for name in 'abcd':
        Image.fromarray(np.full((40, 40, 3), COLOR, np.uint8)).save(tmp_path / f'photos/{name}.png')

    def run(**views: int | None) -> str:
        cfg = Config.fromfile(RECIPE)
        colors = cfg.model.heads.pop('colors')
        for name, view in views.items():
            cfg.model.heads[name] = head = copy.deepcopy(colors)
            head.pairs = ((view or 0, view or 0),)
            head.target.file = None if view is None else str(tmp_path / f'{name}.pth')
        grey, colored = dict(count=1, size=32, photometric=dict(gray_prob=1.0)), dict(count=1, size=32)
        cfg.train_dataloader.dataset.pipeline[0].views = [grey, colored]
        cfg.train_dataloader.dataset.data_root = str(tmp_path / 'photos')
        cfg.train_dataloader.update(batch_size=2, num_workers=0, persistent_workers=False)
        cfg.dump(tmp_path / 'config.py')
        monkeypatch.setattr(sys, 'argv', [str(TOOL), str(tmp_path / 'config.py')])
        runpy.run_path(str(TOOL), run_name='__main__')
        return capsys.readouterr().out

    return run


def test_each_head_has_the_colours_of_its_own_view(make, tmp_path):
    printed = make(none=None, first=1, second=1)
    ab = rgb_to_lab((torch.tensor(COLOR) / 255).view(1, 3, 1, 1))[:, 1:]
    want = soft_bins(ab, gamut_bins())[0].flatten()
    for name in ('first', 'second'):
        file = tmp_path / f'{name}.pth'
        prior = torch.load(file, weights_only=True)['state_dict']['prior']
        torch.testing.assert_close(prior, want, rtol=0, atol=1e-3)
        assert f'{file}: the colours are as even as' in printed
    assert printed.count('of 4 images with colours') == 2
    assert sorted(x.name for x in tmp_path.glob('*.pth')) == ['first.pth', 'second.pth']


def test_what_has_no_colours_or_no_file(make):
    with pytest.raises(SystemExit, match=r'grey.pth: none of the images has colours'):
        make(grey=0)
    with pytest.raises(SystemExit, match=r"no head of this config has target=dict\(type='ColorBins', file="):
        make(none=None)
