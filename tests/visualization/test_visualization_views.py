"""Views and their rectangles stand where they belong."""

import numpy as np
import torch

from densecl.visualization import colors, displayable, draw_reconstruction, draw_views, hide_masked
from densecl.visualization.canvas import GAP

TITLE = 20


def test_displayable_undoes_the_normalisation():
    pictures = torch.randint(0, 256, (2, 3, 5, 4)).float()
    mean, std = (1.0, 2.0, 3.0), (50.0, 60.0, 70.0)
    norm = (pictures - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    shown = displayable(norm, mean, std)
    for picture, expected in zip(shown, pictures, strict=True):
        assert picture.dtype == np.uint8
        assert np.array_equal(picture, expected.permute(1, 2, 0).numpy())


def test_rectangles():
    image = np.full((100, 200, 3), 90, np.uint8)
    boxes = torch.tensor([[40.0, 20, 120, 80], [100, 10, 200, 100]])
    views = [np.full((32, 32, 3), value, np.uint8) for value in (30, 60)]
    before = image.copy()
    sheet = draw_views(image, boxes, [False, True], views, height=100)
    assert np.array_equal(image, before) and all((v == v[0, 0]).all() for v in views)
    first, second = colors(2)
    inside = sheet[TITLE:]
    assert (inside[80 - 1, 60:90] == first).all() and (inside[40:70, 119] == first).all()
    assert (inside[30:90, 199] == second).all()
    assert (inside[50, 60:90] == 90).all()
    tile = inside[:, 200 + 6 : 200 + 6 + 100]
    assert (tile[0] == first).all() and (tile[50, 50] == 30).all()


def test_boxes_may_refer_to_a_larger_original():
    image = np.full((50, 100, 3), 90, np.uint8)
    box, views = torch.tensor([[80.0, 40, 240, 160]]), [np.zeros((10, 10, 3), np.uint8)]
    large = draw_views(image, box, [False], views, source_size=(200, 400), height=100)
    small = draw_views(image, box / 4, [False], views, height=100)
    assert np.array_equal(large[TITLE:], small[TITLE:])


def test_many_views_take_several_rows():
    image, view = np.zeros((10, 10, 3), np.uint8), np.full((10, 10, 3), 70, np.uint8)
    boxes = torch.tensor([[0.0, 0, 10, 10]]).expand(4, 4)
    sheet = draw_views(image, boxes, [False] * 4, [view] * 4, height=100, columns=3)
    assert sheet.shape[:2] == (2 * (TITLE + 100) + 6, 3 * 100 + 2 * 6)
    last = sheet[-100:, 106:206]  # the image, views 0 and 1; views 2 and 3
    assert (last[50, 50] == 70).all() and (sheet[-100:, 212:] == 255).all()


def test_masked_patches_are_grey():
    image = np.random.default_rng(0).integers(0, 100, (8, 12, 3), np.uint8)
    mask = torch.tensor([[True, False, False], [False, False, True]])
    before = image.copy()
    shown = hide_masked(image, mask)
    assert np.array_equal(image, before) and shown.dtype == np.uint8
    assert (shown[:4, :4] == 128).all() and (shown[4:, 8:] == 128).all()
    left = np.ones((8, 12), bool)
    left[:4, :4] = left[4:, 8:] = False
    assert np.array_equal(shown[left], image[left])


def test_a_reconstruction_fills_masked_patches_alone():
    image, made = np.full((4, 6, 3), 10, np.uint8), np.full((4, 6, 3), 200, np.uint8)
    mask = np.array([[True, False, False], [False, False, True]])
    sheet = draw_reconstruction(image, mask, made)
    true, masked, filled = sheet[:, :6], sheet[:, 6 + GAP : 12 + GAP], sheet[:, 12 + 2 * GAP :]
    assert (true == 10).all()
    hidden = mask.repeat(2, 0).repeat(2, 1)
    assert (masked[hidden] == 128).all() and (masked[~hidden] == 10).all()
    assert (filled[hidden] == 200).all() and (filled[~hidden] == 10).all()
