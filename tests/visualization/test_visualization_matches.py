"""Lines end where the cells are; distances against closed forms and a plain loop."""

import numpy as np
import pytest
import torch

from densecl.visualization import (
    colors,
    draw_matches,
    draw_true_locations,
    match_distance,
    true_locations,
)

SAME = torch.tensor([[10.0, 20, 90, 100]] * 2)
FLIPS = [torch.tensor(f) for f in ([False, False], [True, False], [False, True], [True, True])]


@pytest.mark.parametrize('flipped', FLIPS)
def test_same_crop(flipped):
    """The same crop twice: cells map onto themselves, or onto their mirror image."""
    columns = torch.arange(4) if flipped[0] == flipped[1] else torch.arange(3, -1, -1)
    place = true_locations(SAME, flipped, (2, 4)).view(2, 4, 2)
    assert torch.allclose(place[..., 0], ((columns + 0.5) / 4).expand(2, 4))
    assert torch.allclose(place[..., 1], ((torch.arange(2) + 0.5) / 2)[:, None].expand(2, 4))
    index = (torch.arange(2)[:, None] * 4 + columns).flatten()
    matched, chance, count = match_distance(index, SAME, flipped, (2, 4), (2, 4))
    assert matched == pytest.approx(0, abs=1e-5) and chance > 20 and count == 8


def test_distance_against_a_plain_loop():
    boxes = torch.tensor([[0.0, 0, 60, 90], [30, 10, 90, 70]])
    flipped, grid_q, grid_k = torch.tensor([True, False]), (3, 2), (2, 3)
    index = torch.tensor([5, 0, 1, 2, 3, 4])
    found, chance = [], []
    for cell in range(6):
        row, column = divmod(cell, 2)
        x, y = 60 - (column + 0.5) * 30, (row + 0.5) * 30
        if not (30 <= x <= 90 and 10 <= y <= 70):
            continue
        key = [(30 + (j % 3 + 0.5) * 20, 10 + (j // 3 + 0.5) * 30) for j in range(6)]
        distance = [np.hypot(x - kx, y - ky) for kx, ky in key]
        found.append(distance[index[cell]])
        chance.append(np.mean(distance))
    result = match_distance(index, boxes, flipped, grid_q, grid_k)
    assert 0 < len(found) < 6
    assert result == pytest.approx((np.mean(found), np.mean(chance), len(found)), rel=1e-6)


def test_distance_of_any_number_of_matches():
    """All pairs of cells inside: the mean is chance itself; single matches: the mean of both cells."""
    boxes = torch.tensor([[0.0, 0, 60, 90], [30, 10, 90, 70]])
    flipped, grids = torch.tensor([True, False]), ((3, 2), (2, 3))
    matched, chance, count = match_distance(torch.ones(6, 6) > 0, boxes, flipped, *grids)
    assert matched == chance and count > 0
    index = torch.tensor([5, 0, 1, 2, 3, 4])
    mask = torch.nn.functional.one_hot(index, 6).bool()
    assert match_distance(mask, boxes, flipped, *grids) == match_distance(index, boxes, flipped, *grids)


def test_disjoint_crops_have_no_distance():
    boxes = torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60]])
    matched, chance, count = match_distance(torch.zeros(4).long(), boxes, FLIPS[0], (2, 2), (2, 2))
    assert np.isnan(matched) and np.isnan(chance) and count == 0


def test_lines_join_the_cells():
    view_q, view_k = np.zeros((80, 80, 3), np.uint8), np.full((80, 80, 3), 20, np.uint8)
    index = torch.tensor([3, 2, 1, 0])
    sheet = draw_matches(view_q, view_k, index, (2, 2), (2, 2), [0, 2], height=80)
    assert not view_q.any() and sheet.shape == (80, 200, 3)
    first, second = colors(2)
    assert (sheet[20, 20] == first).all() and (sheet[60, 120 + 60] == first).all()
    assert (sheet[60, 20] == second).all() and (sheet[20, 120 + 60] == second).all()
    assert (sheet[20, 120 + 20] == 20).all()


def test_lines_join_all_matches_of_a_cell():
    view = np.zeros((80, 80, 3), np.uint8)
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[0, 1] = mask[0, 2] = True
    sheet = draw_matches(view, view, mask, (2, 2), (2, 2), [0, 3], height=80)
    color = colors(2)[0]
    for y, x in ((20, 20), (20, 120 + 60), (60, 120 + 20)):
        assert (sheet[y, x] == color).all()
    assert (sheet[60, 120 + 60] == 0).all()
    assert (sheet[60, 60] == 0).all() and not (sheet[60, 65] == 0).all()  # a ring: no match


def test_true_locations_are_drawn_where_they_are():
    view = np.zeros((80, 80, 3), np.uint8)
    boxes = torch.tensor([[0.0, 0, 80, 80], [40, 0, 120, 80]])
    sheet = draw_true_locations(view, view, boxes, FLIPS[0], (2, 2), height=80)
    palette = colors(4)
    # Cell 1 (centre 60, 20) lies at (20, 20) of the second view; cell 0 is outside of it.
    assert (sheet[20, 120 + 20] == palette[1]).all() and (sheet[60, 120 + 20] == palette[3]).all()
    assert (sheet[20, 20] == 0).all() and (sheet[20, 60] == palette[1]).all()
