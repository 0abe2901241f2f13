"""The quickstart's parts; .ci/run takes the whole road."""

import runpy
from pathlib import Path

import cv2
import numpy as np
import pytest

from densecl.engine.launch import read_config
from densecl.finetune import read_data

GREEN, BLUE, RED = (0, 200, 0), (200, 0, 0), (0, 0, 200)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def quickstart():
    return runpy.run_path(str(ROOT / 'tools/quickstart.py'))


def test_tasks_and_config_are_there(quickstart, tmp_path):
    for task, options in quickstart['TASKS'].items():
        given = dict(zip(options[::2], options[1::2], strict=True))
        found = read_data(given['--data'], tmp_path, images=given.get('--images'))
        assert found.task == {'cells': 'detection', 'things': 'semantic'}[task]
        assert 100 <= given['--iters'] <= 400
    config = read_config(str(quickstart['CONFIG']))
    folders = config.train_dataloader.dataset.data_root
    assert folders and all(Path(folder).is_dir() and 'val' not in Path(folder).parts for folder in folders)
    assert [hook['type'] for hook in config.custom_hooks] == ['PretrainedHook', 'GuardHook']


def test_contact_sheet_shows_truth_and_both_predictions(quickstart, tmp_path):
    for folder, colour in (('start', BLUE), ('continued', RED)):
        (tmp_path / folder / 'pictures').mkdir(parents=True)
        for number in range(8):
            picture = np.full((50, 206, 3), colour, np.uint8)
            picture[:, :100] = GREEN
            cv2.imwrite(str(tmp_path / folder / f'pictures/{number}.png'), picture)
    quickstart['contact_sheet'](tmp_path / 'start', tmp_path / 'continued', tmp_path / 'sheet.png', count=3)
    sheet = cv2.imread(str(tmp_path / 'sheet.png'))
    pixels = [int((sheet == colour).all(-1).sum()) for colour in (GREEN, BLUE, RED)]
    assert pixels == 3 * [3 * 50 * 100]
    places = [np.nonzero((sheet == colour).all(-1))[1].min() for colour in (GREEN, BLUE, RED)]
    assert places == sorted(places), 'truth, from the start, from the continued weights'
