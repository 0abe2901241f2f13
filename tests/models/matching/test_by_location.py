"""Matching by location against a plain loop in float64 that knows crops, scales and flips only."""

import math
import random

import pytest
import torch

from densecl.models.matching import ByLocation, match_by_location
from tests.models.matching.sets import cells_of, images


def centers(box, flipped, grid):
    """Cell by cell: where its centre lies, computed by walking through the view."""
    x1, y1, x2, y2 = box
    found = []
    for row in range(grid[0]):
        for column in range(grid[1]):
            share = (column + 0.5) / grid[1]
            x = x2 - share * (x2 - x1) if flipped else x1 + share * (x2 - x1)
            found.append((x, y1 + (row + 0.5) / grid[0] * (y2 - y1)))
    return found


def brute_force(box_q, flip_q, grid_q, box_k, flip_k, grid_k, threshold):
    """For every pair: the distance in cell diagonals, and how far it is from the threshold."""

    def diagonal(box, grid):
        return math.hypot((box[2] - box[0]) / grid[1], (box[3] - box[1]) / grid[0])

    unit = max(diagonal(box_q, grid_q), diagonal(box_k, grid_k))
    return [
        [math.dist(a, b) / unit - threshold for b in centers(box_k, flip_k, grid_k)]
        for a in centers(box_q, flip_q, grid_q)
    ]


def random_box(rng, scale):
    width, height = rng.uniform(0.05, 1) * scale, rng.uniform(0.05, 1) * scale
    x, y = rng.uniform(0, scale - width), rng.uniform(0, scale - height)
    return (x, y, x + width, y + height)


def cases(count):
    """Crops of all kinds: independent, identical, nested, touching, apart; all flips."""
    rng = random.Random(0)
    for number in range(count):
        box_q = random_box(rng, 1)
        x1, y1, x2, y2 = box_q
        other = [
            random_box(rng, 1),
            box_q,
            (x1 + (x2 - x1) / 4, y1 + (y2 - y1) / 4, x2, y2),
            (x2, y1, x2 + (x2 - x1), y2),
            (x1 + 5, y1 + 5, x2 + 5, y2 + 5),
        ][number % 5]
        yield box_q, rng.random() < 0.5, other, rng.random() < 0.5


@pytest.mark.parametrize(('grid_q', 'grid_k'), [((3, 3), (3, 3)), ((2, 5), (4, 3)), ((1, 1), (6, 6))])
@pytest.mark.parametrize('threshold', [0.3, 0.7, 1.5])
def test_equals_brute_force(grid_q, grid_k, threshold):
    drawn = list(cases(500))
    boxes_q, flips_q, boxes_k, flips_k = zip(*drawn, strict=True)
    expected = torch.tensor(
        [brute_force(bq, fq, grid_q, bk, fk, grid_k, threshold) for bq, fq, bk, fk in drawn],
        dtype=torch.float64,
    )
    for dtype, margin in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        found = match_by_location(
            torch.tensor(boxes_q, dtype=dtype), torch.tensor(flips_q), grid_q,
            torch.tensor(boxes_k, dtype=dtype), torch.tensor(flips_k), grid_k, threshold,
        )  # fmt: skip
        assert found.dtype == torch.bool and found.shape == expected.shape
        clear = expected.abs() > margin
        assert clear.float().mean() > 0.99
        assert torch.equal(found[clear], (expected < 0)[clear])
        assert 0 < found[0::5].sum() < found[0::5].numel()
        assert not found[4::5].any()  # crops apart


FLIPS = [(False, False), (True, False), (False, True), (True, True)]


@pytest.mark.parametrize('flips', FLIPS)
def test_identical_square_crops_match_cell_by_cell(flips):
    """The neighbour is at 0.7071: 0.7 leaves the cell itself, or its mirror image."""
    box = torch.tensor([[0.25, 0.25, 0.75, 0.75]])
    flips = torch.tensor(flips)
    found = match_by_location(box, flips[:1], (4, 4), box, flips[1:], (4, 4), 0.7)[0]
    cell = torch.arange(16).view(4, 4)
    same = cell if flips[0] == flips[1] else cell.flip(1)
    assert torch.equal(found.nonzero()[:, 1], same.flatten())
    wide = match_by_location(box, flips[:1], (4, 4), box, flips[1:], (4, 4), 0.71)[0]
    assert wide.sum() == 16 + 2 * 24  # 24 pairs of neighbours in a 4 x 4 grid


def test_the_comparison_is_strict():
    """Cells of 3 x 4, centres 1.25 diagonals apart: all numbers are exact in binary."""
    query, key = torch.tensor([[0.0, 0, 3, 4]]), torch.tensor([[3.75, 5, 6.75, 9]])
    off = torch.zeros(1, dtype=torch.bool)
    assert not match_by_location(query, off, (1, 1), key, off, (1, 1), 1.25).any()
    assert match_by_location(query, off, (1, 1), key, off, (1, 1), 1.25 + 1e-6).all()


def test_the_larger_cell_counts():
    """A small view inside a large cell: all of its cells are within 0.7 of the large one's diagonal."""
    large, small = torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([[0.4, 0.4, 0.6, 0.6]])
    off = torch.zeros(1, dtype=torch.bool)
    assert match_by_location(large, off, (1, 1), small, off, (7, 7), 0.7).all()
    assert match_by_location(small, off, (7, 7), large, off, (1, 1), 0.7).all()


def test_any_common_frame():
    """Moving and scaling both crops alike changes nothing."""
    drawn = list(cases(200))
    boxes_q, flips_q, boxes_k, flips_k = (torch.tensor(x) for x in zip(*drawn, strict=True))
    a, b = (
        match_by_location(
            boxes_q.double() * s + t, flips_q, (3, 4), boxes_k.double() * s + t, flips_k, (3, 4), 0.65
        )
        for s, t in ((1, 0), (512, 64))
    )
    assert torch.equal(a, b)


def test_rule_measures_in_shares_of_the_image():
    """On an image four times as wide as high a shift of one cell across is not one cell down."""
    boxes = torch.tensor([[0.0, 0, 40, 10]])
    shifted = torch.tensor([[10.0, 0, 50, 10]])
    off, frame = torch.zeros(1, dtype=torch.bool), torch.tensor([[400.0, 100.0]])
    query = cells_of((3, 3), 0, off, boxes, 1, frame)
    key = cells_of((3, 6), 0, off, shifted, 1, frame)
    found = ByLocation(0.7)(query, key, images(1)).mask
    expected = match_by_location(
        boxes / torch.tensor([400.0, 100, 400, 100]), off, (3, 3),
        shifted / torch.tensor([400.0, 100, 400, 100]), off, (3, 6), 0.7,
    )  # fmt: skip
    in_pixels = match_by_location(boxes, off, (3, 3), shifted, off, (3, 6), 0.7)
    assert torch.equal(found, expected) and not torch.equal(found, in_pixels)


def test_only_valid_units_ask_and_answer():
    query, key = cells_of((3, 3), 0), cells_of((3, 3), 0)
    query.valid, key.valid = torch.rand(3, 9) < 0.5, torch.rand(3, 9) < 0.5
    found = ByLocation(0.8)(query, key, images()).mask
    every = ByLocation(0.8)(cells_of((3, 3), 0), cells_of((3, 3), 0), images()).mask
    assert torch.equal(found, every & query.valid[:, :, None] & key.valid[:, None]) and found.any()


def test_bad_threshold():
    with pytest.raises(ValueError, match='threshold must be positive'):
        ByLocation(0)
