"""Grids and random boxes."""

import numpy as np
import pytest

from densecl.proposals import GridBoxes, RandomBoxes

IMAGE = np.zeros((90, 120, 3), np.uint8)


def test_grid_without_overlap_tiles_the_image():
    proposals = GridBoxes(rows=2, columns=3)(IMAGE, 'x')
    assert proposals.size == (90, 120)
    assert proposals.boxes.tolist() == [
        [x, y, x + 40, y + 45] for y in (0, 45) for x in (0, 40, 80)
    ]


@pytest.mark.parametrize('overlap', [0.25, 0.5, 0.9])
def test_neighbours_share_the_overlap(overlap):
    boxes = GridBoxes(rows=1, columns=4, overlap=overlap)(IMAGE, 'x').boxes
    width = boxes[:, 2] - boxes[:, 0]
    np.testing.assert_allclose(width, width[0], rtol=1e-5)
    np.testing.assert_allclose(boxes[:-1, 2] - boxes[1:, 0], overlap * width[0], rtol=1e-4)
    assert boxes[0, 0] == 0 and boxes[-1, 2] == 120 and (boxes[:, 1::2] == [0, 90]).all()


def test_random_boxes_depend_on_id_and_seed_only():
    provider = RandomBoxes(count=8, max_iou=1)
    first = provider(IMAGE, 'a/b.jpg').boxes
    assert (provider(IMAGE, 'a/b.jpg').boxes == first).all() and len(first) == 8
    assert not np.isclose(provider(IMAGE, 'a/c.jpg').boxes, first).any()
    assert not np.isclose(RandomBoxes(count=8, max_iou=1, seed=1)(IMAGE, 'a/b.jpg').boxes, first).any()
    double = provider(IMAGE.repeat(2, 0).repeat(2, 1), 'a/b.jpg').boxes
    np.testing.assert_allclose(double, 2 * first, rtol=1e-4)


def test_random_boxes_stay_within_their_ranges():
    provider = RandomBoxes(count=20, area=(0.1, 0.4), aspect=(0.5, 1.5), max_iou=0.6)
    boxes = np.concatenate([provider(IMAGE, str(i)).boxes for i in range(50)]).astype(float)
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    share, aspect = width * height / (90 * 120), width / height
    assert boxes.min() >= 0 and (boxes[:, 2] <= 120).all() and (boxes[:, 3] <= 90).all()
    assert 0.1 - 1e-6 <= share.min() < 0.12 and 0.38 < share.max() <= 0.4 + 1e-6
    assert 0.5 - 1e-6 <= aspect.min() < 0.52 and 1.45 < aspect.max() <= 1.5 + 1e-6


def test_random_boxes_keep_off_each_other():
    for number in range(20):
        boxes = RandomBoxes(count=12, max_iou=0.3)(IMAGE, str(number)).boxes.astype(float)
        for i, a in enumerate(boxes):
            for b in boxes[:i]:
                sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
                shared = sides.clip(0).prod()
                union = (a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared
                assert shared / union <= 0.3 + 1e-6


def test_settings_are_checked():
    for make in (lambda: GridBoxes(rows=0), lambda: GridBoxes(overlap=1), lambda: RandomBoxes(count=0),
                 lambda: RandomBoxes(area=(0.5, 0.2)), lambda: RandomBoxes(aspect=(0, 1))):  # fmt: skip
        with pytest.raises(ValueError, match='expected|must be'):
            make()
