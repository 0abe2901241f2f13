"""The coordinate mapping, against a mapping written point by point."""

import random

import pytest
import torch

from densecl.structures import cell_centers, image_to_view, view_to_image


def naive_view_to_image(x, y, box, flipped, height, width):
    """One point in Python floats: un-mirror, scale, shift."""
    x1, y1, x2, y2 = box
    if flipped:
        x = width - x
    return x1 + x * (x2 - x1) / width, y1 + y * (y2 - y1) / height


def random_views(n=40, seed=0):
    rng = random.Random(seed)
    boxes = []
    for _ in range(n):
        x1, y1 = rng.uniform(0, 300), rng.uniform(0, 200)
        boxes.append([x1, y1, x1 + rng.uniform(1, 300), y1 + rng.uniform(1, 200)])
    flipped = [rng.random() < 0.5 for _ in range(n)]
    return torch.tensor(boxes, dtype=torch.float64), torch.tensor(flipped)


def test_view_to_image_equals_the_pointwise_form():
    boxes, flipped = random_views()
    size = (96, 160)
    points = torch.rand(len(boxes), 7, 2, dtype=torch.float64) * torch.tensor([160.0, 96.0])
    mapped = view_to_image(points, boxes, flipped, size)
    for b in range(len(boxes)):
        for p in range(7):
            want = naive_view_to_image(*points[b, p].tolist(), boxes[b].tolist(), flipped[b], *size)
            assert mapped[b, p].tolist() == pytest.approx(want, abs=1e-9)


def test_image_to_view_is_the_inverse():
    boxes, flipped = random_views()
    points = torch.rand(len(boxes), 5, 2, dtype=torch.float64) * 200
    there = view_to_image(points, boxes, flipped, (224, 200))
    torch.testing.assert_close(image_to_view(there, boxes, flipped, (224, 200)), points)


def test_a_point_goes_through_the_image_into_the_other_view():
    # Two crops of one image around the landmark (120, 80); the second one is mirrored.
    boxes = torch.tensor([[100.0, 40, 200, 140], [60.0, 60, 160, 110]])
    landmark = torch.tensor([[[120.0, 80]]]).expand(2, -1, -1)
    in_first = image_to_view(landmark[:1], boxes[:1], torch.tensor([False]), (50, 50))
    assert in_first.flatten().tolist() == pytest.approx([10, 20])
    through = view_to_image(in_first, boxes[:1], torch.tensor([False]), (50, 50))
    in_second = image_to_view(through, boxes[1:], torch.tensor([True]), (100, 200))
    # 60 % of the width from the left, mirrored: 40 % of 200 px; 40 % of the height
    assert in_second.flatten().tolist() == pytest.approx([200 - 120, 40])


def test_cell_centers_are_the_centres_of_equal_parts():
    boxes = torch.tensor([[10.0, 20, 50, 40], [10.0, 20, 50, 40]])
    centers = cell_centers(boxes, torch.tensor([False, True]), (2, 4)).view(2, 2, 4, 2)
    assert centers[0, 0, :, 0].tolist() == [15, 25, 35, 45]
    assert centers[1, 0, :, 0].tolist() == [45, 35, 25, 15]
    assert centers[0, :, 0, 1].tolist() == [25, 35]
    assert centers[1, :, 0, 1].tolist() == [25, 35]
