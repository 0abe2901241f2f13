"""Boxes in a view, against loops over corners, masks of pixels, and the way back."""

import random

import pytest
import torch

from densecl.structures import boxes_to_view, view_to_image


def naive(box, crop, flipped, height, width):
    """One box in Python floats: cut, shift, scale, mirror."""
    x1, x2 = (min(max(x, crop[0]), crop[2]) for x in (box[0], box[2]))
    y1, y2 = (min(max(y, crop[1]), crop[3]) for y in (box[1], box[3]))
    keep = x2 > x1 and y2 > y1
    x1, x2 = ((x - crop[0]) * width / (crop[2] - crop[0]) for x in (x1, x2))
    y1, y2 = ((y - crop[1]) * height / (crop[3] - crop[1]) for y in (y1, y2))
    return [width - x2, y1, width - x1, y2] if flipped else [x1, y1, x2, y2], keep


def cases(count: int, per_image: int = 6, seed: int = 0, whole: bool = False):
    """Crops (B, 4), boxes (B, P, 4), flips (B,): boxes inside, across, outside and without area."""
    rng = random.Random(seed)

    def draw(low, high):
        return rng.randint(low, high) if whole else rng.uniform(low, high)

    crops, boxes, flips = [], [], []
    for _ in range(count):
        x, y = draw(0, 300), draw(0, 200)
        crops.append([x, y, x + draw(1, 300), y + draw(1, 200)])
        flips.append(rng.random() < 0.5)
        row = []
        for _ in range(per_image):
            x, y = draw(-50, 400), draw(-50, 300)
            w, h = (draw(0, 200) if rng.random() < 0.9 else 0 for _ in range(2))
            row.append([x, y, x + w, y + h])
        boxes.append(row)
    tensors = (torch.tensor(v, dtype=torch.float64) for v in (crops, boxes))
    return *tensors, torch.tensor(flips)


@pytest.mark.parametrize('size', [(224, 224), (96, 160), (7, 3)])
@pytest.mark.parametrize('whole', [True, False])
def test_equals_the_pointwise_form(size, whole):
    crops, boxes, flips = cases(1000, whole=whole)
    placed, keep = boxes_to_view(boxes, crops, flips, size)
    assert 0.2 < keep.double().mean() < 0.85
    expected = [
        [naive(box, crop, flip, *size) for box in row]
        for row, crop, flip in zip(boxes.tolist(), crops.tolist(), flips.tolist(), strict=True)
    ]
    assert keep.tolist() == [[k for _, k in row] for row in expected]
    want = torch.tensor([[b for b, _ in row] for row in expected], dtype=torch.float64)
    torch.testing.assert_close(placed, want, rtol=0, atol=1e-9)
    single, kept = boxes_to_view(boxes.float(), crops.float(), flips, size)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), want, rtol=0, atol=2e-2 if not whole else 1e-3)
    if whole:  # whole numbers are compared exactly in float32 too
        assert torch.equal(kept, keep)
    assert (single[..., 2:] >= single[..., :2]).all() and single.min() >= 0
    assert (single[..., 2] <= size[1]).all() and (single[..., 3] <= size[0]).all()


def test_one_image_is_a_batch_of_one():
    crops, boxes, flips = cases(200)
    placed, keep = boxes_to_view(boxes, crops, flips, (32, 48))
    for b in range(200):
        one = boxes_to_view(boxes[b], crops[b], bool(flips[b]), (32, 48))
        assert torch.equal(one[0], placed[b]) and torch.equal(one[1], keep[b])
    none = boxes_to_view(torch.zeros(0, 4), crops[0], True, (32, 48))
    assert none[0].shape == (0, 4) and none[1].shape == (0,)


def test_pixels_of_a_box_are_the_pixels_of_the_view_box():
    """Paint the box in the image, cut, enlarge and mirror the picture: the painted part is the box."""
    crops, boxes, flips = cases(400, per_image=3, seed=1, whole=True)
    for crop, row, flip in zip(crops.long().tolist(), boxes, flips, strict=True):
        height, width = 2 * (crop[3] - crop[1]), 3 * (crop[2] - crop[0])
        for box in row:
            image = torch.zeros(500, 700, dtype=torch.bool)
            x1, y1, x2, y2 = box.long().clamp(min=0).tolist()
            image[y1:y2, x1:x2] = True
            view = image[crop[1] : crop[3], crop[0] : crop[2]]
            view = view.repeat_interleave(2, 0).repeat_interleave(3, 1)
            view = view.flip(1) if flip else view
            placed, keep = boxes_to_view(box[None], torch.tensor(crop), flip, (height, width))
            expected = torch.zeros_like(view)
            x1, y1, x2, y2 = placed[0].round().long().tolist()
            expected[y1:y2, x1:x2] = True
            assert torch.equal(view, expected) and bool(keep) == bool(view.any())


def test_the_way_back_is_the_part_inside_the_crop():
    crops, boxes, flips = cases(500, seed=2)
    placed, keep = boxes_to_view(boxes, crops, flips, (50, 70))
    ends = placed.unflatten(-1, (2, 2)).flatten(1, 2)
    back = view_to_image(ends, crops, flips, (50, 70)).unflatten(1, (-1, 2))
    back = torch.cat([back.amin(2), back.amax(2)], -1)
    near, far = crops[:, None, :2].repeat(1, 1, 2), crops[:, None, 2:].repeat(1, 1, 2)
    inside = torch.minimum(torch.maximum(boxes, near), far)
    torch.testing.assert_close(back[keep], inside[keep], rtol=0, atol=1e-9)


@pytest.mark.parametrize('flipped', [True, False])
def test_boxes_that_only_touch_the_crop_are_not_in_it(flipped):
    crop = torch.tensor([13.0, 7.0, 110.0, 90.0])
    outside = [[0, 7, 13, 90], [110, 7, 120, 90], [13, 0, 110, 7], [13, 90, 110, 99]]
    empty = [[20, 20, 20, 40], [20, 20, 40, 20], [500, 500, 600, 600]]
    placed, keep = boxes_to_view(torch.tensor(outside + empty).float(), crop, flipped, (224, 224))
    assert not keep.any()
    assert ((placed[:, 2:] - placed[:, :2]).prod(1) < 1e-3).all()
    all_of_it, keep = boxes_to_view(torch.tensor([[0.0, 0, 200, 200]]), crop, flipped, (224, 224))
    assert keep.all() and torch.equal(all_of_it, torch.tensor([[0.0, 0, 224, 224]]))
