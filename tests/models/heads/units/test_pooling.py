"""How regions become vectors: RoIAlign's bins, exact means over boxes, means over masks; flips."""

import pytest
import torch
from oracles.pooling import mean_over
from torchvision.ops import roi_align

from densecl.models.heads.units.pooling import pool_boxes, pool_boxes_exactly, pool_masks
from densecl.structures import boxes_to_view, cell_centers


def test_bins_are_read_in_the_views_pixels():
    """On a map that is linear in the position every bin holds the value at its centre."""
    y, x = torch.meshgrid(*[(torch.arange(16.0).double() + 0.5) * 4] * 2, indexing='ij')
    level = torch.stack([x, y, x + 2 * y])[None].repeat(2, 1, 1, 1)
    boxes = torch.tensor([[[8.0, 12, 40, 24], [10, 10, 13, 52]], [[3, 5, 60, 61], [20, 20, 20, 30]]])
    pooled = pool_boxes(level, boxes, (64, 64), 4)
    for i, (x1, y1, x2, y2) in enumerate(boxes.flatten(0, 1).tolist()[:3]):
        column = x1 + (x2 - x1) * (torch.arange(4) + 0.5) / 4
        row = y1 + (y2 - y1) * (torch.arange(4) + 0.5) / 4
        y, x = torch.meshgrid(row.double(), column.double(), indexing='ij')
        torch.testing.assert_close(pooled[i], torch.stack([x, y, x + 2 * y]))
    assert pooled[3].eq(0).all()  # an empty box


def draw_boxes(count, size, least=10.0):
    corner = torch.rand(count, 2, dtype=torch.float64) * (torch.tensor([size[1], size[0]]) - least)
    room = torch.tensor([size[1], size[0]]) - corner
    return torch.cat([corner, corner + least + torch.rand(count, 2, dtype=torch.float64) * (room - least)], 1)


@pytest.mark.parametrize('grid', [(7, 9), (1, 4), (2, 1)])
def test_means_over_boxes_are_exact(grid):
    level = torch.randn(2, 3, *grid, dtype=torch.float64)
    boxes = draw_boxes(24, (56, 72)).view(2, 12, 4)
    boxes[0, 0] = torch.tensor([0.0, 0, 72, 56])
    found = pool_boxes_exactly(level, boxes, (56, 72))
    for b in range(2):
        for r in range(12):
            torch.testing.assert_close(found[b, r], mean_over(level[b], boxes[b, r], (56, 72)))


def test_gradients_of_exact_means():
    level = torch.randn(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    boxes = draw_boxes(3, (32, 40))[None]
    assert torch.autograd.gradcheck(lambda x: pool_boxes_exactly(x, boxes, (32, 40)), level)


def roi_align_error(samples):
    """Largest error of RoIAlign beside the integral, in standard deviations of the map."""
    torch.manual_seed(0)
    level = torch.randn(8, 16, 14, 14, dtype=torch.float64)
    boxes = draw_boxes(8 * 36, (224, 224), 16.0).view(8, 36, 4)
    exact = pool_boxes_exactly(level, boxes, (224, 224)).flatten(0, 1)
    sampled = roi_align(level, list(boxes / 16), 1, sampling_ratio=samples, aligned=True).flatten(1)
    return float((exact - sampled).abs().max())


def test_roi_align_comes_to_the_same():
    """On white noise, boxes of 16 px to the whole view: with its own number of samples, one a
    cell, and with 4, 16 and 64 a side."""
    own, *errors = (roi_align_error(samples) for samples in (-1, 4, 16, 64))
    assert 0.05 < own < 0.3
    assert errors[0] < 0.8 and errors[1] < 0.06 and errors[2] < 4e-3


WAYS = {
    'RoIAlign': lambda *args: pool_boxes(*args, 1).view(60, 4, 2),
    'half a cell off': lambda *args: pool_boxes(*args, 1, aligned=False).view(60, 4, 2),
    'exact': pool_boxes_exactly,
}


@pytest.mark.parametrize('way', WAYS)
def test_the_same_place_is_read_in_both_views(way):
    """Whatever the flips, where cell centres lie at half cells; SCRL's official reading does not. On maps
    whose cells hold their own place in the image: what a perfect network would see."""
    size, grid = (160, 192), (20, 24)
    crops = [torch.tensor([box]).repeat(60, 1).double() for box in ([0.0, 0, 96, 80], [16, 8, 112, 104])]
    flips = [torch.arange(60) % 2 == 0, torch.arange(60) % 3 == 0]
    near = torch.rand(60, 4, 2, dtype=torch.float64) * torch.tensor([60.0, 50]) + torch.tensor([16.0, 8])
    boxes = torch.cat([near, near + 4 + 14 * torch.rand(60, 4, 2, dtype=torch.float64)], -1)
    read, inner = [], torch.ones(60, 4, dtype=torch.bool)
    for crop, flipped in zip(crops, flips, strict=True):
        placed, shown = boxes_to_view(boxes, crop, flipped, size)
        assert shown.all()
        # Away from the outermost half cell, where values are continued unchanged.
        inner &= (placed > 4).all(-1) & (placed[..., 2] < 188) & (placed[..., 3] < 156)
        level = cell_centers(crop, flipped, grid).transpose(1, 2).unflatten(2, grid)
        read.append(WAYS[way](level, placed, size))
    assert inner.sum() > 100
    difference = (read[0] - read[1])[inner].abs().max()
    assert difference > 3 if way == 'half a cell off' else difference < 1e-10


def test_means_over_masks():
    level = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    hard = torch.rand(2, 6, 3, 4) < 0.4
    hard[0, 0], hard[1, 2] = False, True
    found = pool_masks(level, hard.float())
    assert (found[0, 0] == 0).all()
    torch.testing.assert_close(found[1, 2], level[1].mean((1, 2)))
    torch.testing.assert_close(found[1, 3], level[1][:, hard[1, 3]].mean(1))
    soft = torch.rand(2, 6, 3, 4, dtype=torch.float64) * 0.01
    want = (level[:, None] * soft[:, :, None]).sum((3, 4)) / soft.sum((2, 3))[..., None]
    torch.testing.assert_close(pool_masks(level, soft), want)


def test_half_precision_is_pooled_in_float32():
    level, boxes = torch.randn(2, 3, 4, 4).bfloat16(), draw_boxes(6, (16, 16)).view(2, 3, 4)
    masks = torch.rand(2, 3, 4, 4)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        rough = [
            pool_boxes(level, boxes, (16, 16), 2),
            pool_boxes_exactly(level, boxes, (16, 16)),
            pool_masks(level, masks),
        ]
    exact = [
        pool_boxes(level.float(), boxes, (16, 16), 2),
        pool_boxes_exactly(level.float(), boxes, (16, 16)),
        pool_masks(level.float(), masks),
    ]
    assert all(torch.equal(a, b) and a.dtype == torch.float32 for a, b in zip(rough, exact, strict=True))
