"""Boxes are drawn where they are, at any size of the photo."""

import numpy as np
import pytest

from densecl.structures import Proposals
from densecl.visualization import colors
from densecl.visualization.proposals import contact_sheet, draw_proposals


def test_boxes_are_drawn_where_they_are():
    image = np.zeros((50, 100, 3), np.uint8)
    proposals = Proposals([[40, 40, 360, 160]], (200, 400))  # of the photo at four times the size
    tile = draw_proposals(image, proposals, height=100)
    (color,) = colors(1)
    bar = tile.shape[0] - 100
    assert tile.shape[1] == 200 and (tile[bar + 20, 25:175] == color).all()
    assert (tile[bar + 50, 20] == color).all() and (tile[bar + 79, 100] == color).all()
    assert (tile[bar + 50, 100] == 0).all() and (image == 0).all()


def test_only_so_many_boxes():
    image = np.zeros((60, 60, 3), np.uint8)
    proposals = Proposals([[i, i, i + 5, i + 5] for i in range(0, 50, 10)], (60, 60))
    few, every = (draw_proposals(image, proposals, count, 60) for count in (2, None))
    bar = few.shape[0] - 60
    drawn = [[bool(t[bar + i, i].any()) for i in range(0, 50, 10)] for t in (few, every)]
    assert drawn == [[True, False, False, False, True], [True] * 5]
    assert draw_proposals(image, Proposals([], (60, 60))).shape[1] >= 60


def test_rows_of_a_sheet():
    photos = [(np.full((40, 60, 3), 9, np.uint8), Proposals([], (40, 60)))] * 5
    tile = draw_proposals(*photos[0], height=80)
    height, width = tile.shape[:2]
    sheet = contact_sheet(photos, width=2 * width + 20, height=80)
    assert sheet.shape[1] == 2 * width + 6 and sheet.shape[0] == 3 * height + 12


@pytest.mark.parametrize('size', [(2, 6000), (1, 50000), (300, 6000)])
def test_photos_of_any_aspect_fit_the_sheet(size):
    image = np.zeros((*size, 3), np.uint8)
    proposals = Proposals([[size[1] / 2, 0, size[1], size[0]]], size)
    tile = draw_proposals(image, proposals, widest=1600)
    assert tile.shape[1] == 1600 and tile.shape[0] <= 100
    color, inside = colors(1)[0], tile[20:]
    assert (inside[0, 805:] == color).all() and (inside[0, :795] == 0).all()
    assert contact_sheet([(image, proposals)] * 3, width=500).shape[1] == 500
    tall = draw_proposals(image.transpose(1, 0, 2).copy(), Proposals([], size[::-1]))
    assert tall.shape[0] == 260 and tall.shape[1] < 100
