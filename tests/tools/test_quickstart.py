"""The quickstart's parts; .ci/run takes the whole road."""

import json
import runpy
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from densecl.engine.launch import read_config
from densecl.finetune import read_data, write_config

GREEN, BLUE, RED = (0, 200, 0), (200, 0, 0), (0, 0, 200)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def quickstart():
    return runpy.run_path(str(ROOT / 'tools/quickstart.py'))


def test_data_and_config_are_there(quickstart, tmp_path):
    found = read_data(quickstart['TRAIN'], tmp_path, quickstart['VAL'], share=quickstart['SHARE'])
    assert found.task == 'detection' and len(found.train.sizes) == 59 and len(found.val.sizes) == 72
    assert len(found.classes) == 3 and len(found.train.sides) > 300
    assert 100 <= quickstart['ITERS'] <= 400
    config = read_config(str(quickstart['CONFIG']))
    folder = Path(config.train_dataloader.dataset.data_root)
    assert folder.is_dir() and 'val' not in folder.parts
    assert [hook['type'] for hook in config.custom_hooks] == ['PretrainedHook', 'GuardHook']


@pytest.mark.parametrize('length', ['ITERS', 'SHORT_ITERS'])
def test_the_detector_takes_either_length(quickstart, tmp_path, length):
    iters = quickstart[length]
    config = write_config(
        'imagenet', quickstart['TRAIN'], tmp_path / 'out', val=quickstart['VAL'], size='slim', iters=iters
    )
    assert Config.fromfile(config).train_cfg.max_iters == iters


@pytest.mark.parametrize('tiles', [2, 3])
def test_contact_sheet_shows_truth_and_both_predictions(quickstart, tmp_path, tiles):
    folders = {name: tmp_path / name for name in ('ImageNet', 'continued')}
    for folder, colour in zip(folders.values(), (BLUE, RED), strict=True):
        folder.mkdir()
        for number in range(8):
            picture = np.full((50, 106 * tiles - 6, 3), (9, 9, 9), np.uint8)
            picture[:, :100], picture[:, -100:] = GREEN, colour
            cv2.imwrite(str(folder / f'{number}.png'), picture)
    quickstart['contact_sheet'](folders, tiles, tmp_path / 'sheet.png', count=3)
    sheet = cv2.imread(str(tmp_path / 'sheet.png'))
    pixels = [int((sheet == colour).all(-1).sum()) for colour in (GREEN, BLUE, RED)]
    assert pixels == 3 * [3 * 50 * 100]
    places = [np.nonzero((sheet == colour).all(-1))[1].min() for colour in (GREEN, BLUE, RED)]
    assert places == sorted(places), 'truth, from the start, from the continued weights'


def test_figures_of_both_kinds_have_names(quickstart, tmp_path):
    probed = dict(linear=dict(mean=40.0), retrieval=dict(mean=30.0))
    (tmp_path / 'probe.json').write_text(json.dumps(probed))
    (tmp_path / 'metrics.json').write_text(json.dumps({'box AP': 45.0}))
    assert quickstart['figures'](tmp_path) == {
        'frozen, linear mIoU': 40.0,
        'frozen, retrieval mIoU': 30.0,
        'fine-tuned, box AP': 45.0,
    }
