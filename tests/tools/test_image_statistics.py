"""tools/image_statistics.py prints lines that make a config."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from oracles.sensor_files import write_folder
from PIL import Image

from densecl.datasets import Folder, SensorDecoder, estimate_statistics
from densecl.registry import MODELS

TOOL = Path(__file__).parents[2] / 'tools/image_statistics.py'


@pytest.fixture
def printed(monkeypatch, capsys):
    """``printed(*arguments)``: what the tool prints."""

    def run(*arguments) -> str:
        monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, arguments)])
        runpy.run_path(str(TOOL), run_name='__main__')
        return capsys.readouterr().out

    return run


def test_lines_of_a_config(tmp_path, printed):
    folder = write_folder(tmp_path / 'sensor', 3, 48) / 'images'
    text = printed(folder, '--bands', 3, 0)
    assert text.startswith('# 3 images, 2 channels of uint16')
    (tmp_path / 'config.py').write_text(text)
    config = Config.fromfile(tmp_path / 'config.py')
    expected = dict(type='SensorDecoder', channels=2, dtype='uint16', bands=[3, 0])
    assert config.train_dataloader.dataset.decoder == expected
    statistics = estimate_statistics(Folder(folder), decoder=SensorDecoder(2, bands=[3, 0]))
    assert config.model.backbone == dict(in_channels=2)
    processor = MODELS.build(config.model.data_preprocessor)
    assert tuple(processor.low) == statistics.low and tuple(processor.high) == statistics.high
    np.testing.assert_allclose((-processor.shift / processor.scale).flatten(), statistics.mean, rtol=1e-4)


def test_lines_for_rgb(tmp_path, printed):
    image = np.random.default_rng(0).integers(0, 200, (10, 12, 3)).astype(np.uint8)
    (tmp_path / 'images').mkdir()
    Image.fromarray(image).save(tmp_path / 'images/a.png')
    (tmp_path / 'config.py').write_text(printed(tmp_path / 'images'))
    config = Config.fromfile(tmp_path / 'config.py')
    assert 'train_dataloader' not in config and 'backbone' not in config.model
    np.testing.assert_allclose(config.model.data_preprocessor.mean, image.reshape(-1, 3).mean(0), rtol=1e-4)
