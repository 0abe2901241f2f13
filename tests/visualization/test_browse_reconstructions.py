"""The command, on real photos."""

import shutil
import time
from pathlib import Path

import cv2
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from densecl.registry import MODELS
from densecl.sample import sample_root
from densecl.tools import run_tool

CONFIGS = Path(__file__).parents[2] / 'configs'


def saved(config, tmp_path):
    """A checkpoint as mmengine's runner writes it, of untrained weights."""
    cfg = Config.fromfile(CONFIGS / config)
    with DefaultScope.overwrite_default_scope('densecl'):
        model = MODELS.build(cfg.model)
    torch.save({'state_dict': model.state_dict(), 'meta': {'cfg': cfg.pretty_text}}, tmp_path / 'a.pth')
    return tmp_path / 'a.pth'


def test_true_masked_and_filled_in(tmp_path):
    (tmp_path / 'photos').mkdir()
    for photo in sorted((sample_root() / 'detection/val').glob('*.jpg'))[:2]:
        shutil.copy(photo, tmp_path / 'photos')
    checkpoint = saved('spark/spark_resnet18_1xb64-coslr-16e_photos.py', tmp_path)
    out = tmp_path / 'a.png'
    run_tool(
        'browse_reconstructions', [str(checkpoint), '--photos', str(tmp_path / 'photos'), '--out', str(out)]
    )
    sheet = cv2.imread(str(out))
    side, gap = 112, (sheet.shape[1] - 3 * 112) // 2
    assert sheet.shape[0] == 2 * side + gap
    true, masked, filled = (sheet[:side, i * (side + gap) :][:, :side].astype(int) for i in range(3))
    cells = (masked != true).any(-1).reshape(7, 16, 7, 16).mean((1, 3))
    assert (cells > 0.9).sum() == 29 and (cells == 0).sum() == 20
    assert ((filled != true).any(-1).reshape(7, 16, 7, 16).mean((1, 3)) > 0).sum() == 29


def test_a_method_without_pixels_is_refused(tmp_path):
    checkpoint = saved('quickstart/densecl_resnet18_sample.py', tmp_path)
    photos = str(sample_root() / 'detection/val')
    with pytest.raises(SystemExit, match='no head with target=dict'):
        run_tool('browse_reconstructions', [str(checkpoint), '--photos', photos])


@pytest.mark.parametrize('tool', ['browse_answers', 'browse_reconstructions'])
def test_the_text_of_a_config_is_not_run(tool, tmp_path, capsys):
    """A checkpoint of somebody else: neither its text nor a type in it is code."""
    mark = tmp_path / 'ran'
    data = dict(type='subprocess.Popen', args=['touch', str(mark)])
    text = f"open({str(mark)!r}, 'w')\ntrain_dataloader = dict(dataset={data})\nmodel = dict()\n"
    torch.save({'state_dict': {}, 'meta': {'cfg': text}}, tmp_path / 'a.pth')
    with pytest.raises(SystemExit, match='2'):
        run_tool(tool, [str(tmp_path / 'a.pth')])
    assert 'type is missing: it names the dataset to be built' in capsys.readouterr().err
    time.sleep(0.2)
    assert not mark.exists()
    torch.save({'state_dict': {}}, tmp_path / 'a.pth')
    with pytest.raises(SystemExit, match='holds no config; give that of its pretraining with --config'):
        run_tool(tool, [str(tmp_path / 'a.pth')])
