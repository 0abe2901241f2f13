"""The command as a user calls it, in this process."""

import shutil

import cv2
import numpy as np
import pytest
from mmengine.logging import MMLogger

from densecl.cli import main
from densecl.datasets import decode_image
from densecl.sample import sample_root


@pytest.fixture
def densecl(capsys, monkeypatch):
    """``densecl('plan', 'photos')`` -> exit code, what was printed, what was printed as an error."""

    def call(*arguments) -> tuple[int, str, str]:
        MMLogger._instance_dict.clear()  # those of earlier commands write to streams that are closed now
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return left.value.code, out, err

    return call


@pytest.fixture(scope='session')
def photos(tmp_path_factory):
    """A folder of 24 real photos."""
    folder = tmp_path_factory.mktemp('photos') / 'mine'
    folder.mkdir()
    for path in sorted(sample_root().glob('photos/*/*.jpg'))[::20][:24]:
        shutil.copy(path, folder)
    return folder


@pytest.fixture(scope='session')
def labelled(photos, tmp_path_factory):
    """The 24 photos with label maps: left and right half."""
    folder = tmp_path_factory.mktemp('labelled')
    shutil.copytree(photos, folder / 'images')
    (folder / 'labels').mkdir()
    for path in photos.iterdir():
        height, width = decode_image(path).shape[:2]
        halves = (np.arange(width) >= width // 2).astype(np.uint8)
        cv2.imwrite(str(folder / 'labels' / f'{path.stem}.png'), np.tile(halves, (height, 1)))
    return folder
