"""Tiles and colours."""

import cv2
import numpy as np
import pytest

from densecl.visualization import colors, save_image, side_by_side, stacked, titled
from densecl.visualization.canvas import caption


def test_colors_are_stable_and_distinct():
    assert np.array_equal(colors(5), colors(20)[:5])
    assert len({tuple(c) for c in colors(20)}) == 20 and colors(0).shape == (0, 3)


def test_tiles():
    a, b = np.full((4, 3, 3), 10, np.uint8), np.full((2, 5, 3), 20, np.uint8)
    row = side_by_side([a, b], gap=1)
    assert row.shape == (4, 9, 3)
    assert (row[:, :3] == 10).all() and (row[:2, 4:] == 20).all()
    assert (row[:, 3] == 255).all() and (row[2:, 4:] == 255).all()
    column = stacked([a, b], gap=1)
    assert column.shape == (7, 5, 3)
    assert (column[:4, :3] == 10).all() and (column[5:] == 20).all() and (column[4] == 255).all()
    assert (titled(a, 'x')[-4:, :3] == 10).all()


@pytest.mark.parametrize('corner', [(-50, -50), (500, 500), (3.7, 2.2)])
def test_captions_stay_inside(corner):
    image = np.zeros((40, 120, 3), np.uint8)
    caption(image, 'w\u00f6rter', corner, (255, 0, 0))
    assert (image[..., 0] > 200).sum() > 100


def test_files_hold_rgb(tmp_path):
    image = np.zeros((4, 4, 3), np.uint8)
    image[..., 0] = 200
    path = save_image(tmp_path / 'new' / 'a.png', image)
    assert np.array_equal(cv2.imread(str(path))[..., ::-1], image)


def test_an_image_that_no_file_can_hold_is_named(tmp_path):
    with pytest.raises(ValueError, match=r'a\.jpg: cannot encode an image of shape \(1, 70000, 3\)'):
        save_image(tmp_path / 'a.jpg', np.zeros((1, 70000, 3), np.uint8))
    with pytest.raises(ValueError, match=r'a\.xyz: .* choose another suffix'):
        save_image(tmp_path / 'a.xyz', np.zeros((4, 4, 3), np.uint8))
    assert not list(tmp_path.iterdir())
