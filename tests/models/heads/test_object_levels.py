"""Which pyramid level a box belongs to."""

import math

import pytest
import torch

from densecl.models.heads import assign_levels


def random_boxes(*shape, size=64.0):
    corner = torch.rand(*shape, 2, dtype=torch.float64) * size * 0.7
    sides = torch.rand(*shape, 2, dtype=torch.float64) * size
    return torch.cat([corner, (corner + sides + 1).clamp(max=size)], -1)


def level_of(box, thresholds):
    """The rule, one box at a time."""
    size = math.sqrt((box[2] - box[0]) * (box[3] - box[1]))
    return next((i for i, t in enumerate(thresholds) if size <= t), len(thresholds) - 1)


@pytest.mark.parametrize('thresholds', [(48, 96, 192, 224), (20, 41), (100,)])
def test_levels_equal_brute_force(thresholds):
    boxes = random_boxes(2000, 3, size=260)
    boxes[:1000] = boxes[:1000].round()
    expected = [[level_of(b, thresholds) for b in row] for row in boxes.tolist()]
    assert assign_levels(boxes, thresholds).tolist() == expected
    assert assign_levels(boxes.float()[:1000], thresholds).tolist() == expected[:1000]  # whole pixels


def test_levels_at_and_beyond_the_thresholds():
    sides = [(48, 48), (48, 48.01), (32, 72), (96, 96), (64, 144.5), (192, 192), (193, 192), (224, 224),
             (300, 300), (0, 50), (5, -3)]  # fmt: skip
    boxes = torch.tensor([[7.0, 9, 7 + w, 9 + h] for w, h in sides])
    assert assign_levels(boxes).tolist() == [0, 1, 0, 1, 2, 2, 3, 3, 3, 0, 0]
    assert assign_levels(boxes).dtype == torch.int64
