"""Sliding windows: the official numbers, and where they lie in the other views, point by point."""

import numpy as np
import pytest
import torch

from densecl.datasets.transforms import Crop, DrawnView, MultiView, SlidingWindows
from densecl.datasets.transforms.sliding_windows import sliding_windows, windows_in_view


def test_official_windows():
    """36 and 64 at 224 px, for any views; row by row."""
    p4, p3 = sliding_windows((224, 224), 48, 32), sliding_windows((224, 224), 32, 24)
    assert p4.shape == (36, 4) and p3.shape == (64, 4)
    assert p4[1].tolist() == [32, 0, 80, 48] and p4[6].tolist() == [0, 32, 48, 80]
    assert p3[-1].tolist() == [168, 168, 200, 200]
    # A ninth window of P3 would end on the border, where the official code drops it.
    assert sliding_windows((225, 225), 32, 24).shape == (81, 4)


def test_windows_of_a_view_that_is_not_square():
    found = sliding_windows((40, 100), 30, 20).tolist()
    assert found == [[x, 0, x + 30, 30] for x in (0, 20, 40, 60)]


def view_of(box, size, flipped=False):
    return DrawnView(Crop(tuple(box), size, flipped))


def random_views(count, sizes, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        corners, sides = rng.random((2, 2)) * 60, 40 + rng.random((2, 2)) * 80
        boxes = np.concatenate([corners, corners + sides], 1).tolist()
        yield [view_of(b, s, bool(rng.random() < 0.5)) for b, s in zip(boxes, sizes, strict=True)]


def by_hand(window, view, other):
    """One window, with Python's numbers: to the image, and into the other view."""
    height, width = view.size
    crop, other_crop, other_size = view.box, other.box, other.size
    x1, y1, x2, y2 = window
    if view.flipped:
        x1, x2 = width - x2, width - x1
    in_image = [
        crop[axis % 2] + value * (crop[axis % 2 + 2] - crop[axis % 2]) / (width, height)[axis % 2]
        for axis, value in enumerate((x1, y1, x2, y2))
    ]
    sides = other_crop[2] - other_crop[0], other_crop[3] - other_crop[1]
    x1, y1, x2, y2 = (
        (value - other_crop[axis % 2]) / sides[axis % 2] * other_size[1 - axis % 2]
        for axis, value in enumerate(in_image)
    )
    if other.flipped:
        x1, x2 = other_size[1] - x2, other_size[1] - x1
    return [x1, y1, x2, y2], x1 >= 0 and y1 >= 0 and x2 <= other_size[1] and y2 <= other_size[0]


def test_mapping_of_random_crops_and_flips():
    windows = sliding_windows((64, 96), 16, 12).tolist()
    kinds, shown = set(), []
    for view, other in random_views(100, [(64, 96), (48, 80)]):
        own, placed = SlidingWindows(16, 12).choose({}, [view, other])
        assert own.boxes.tolist() == windows and own.ids.tolist() == list(range(len(windows)))
        assert placed.boxes.dtype == own.boxes.dtype == torch.float32 and placed.masks is None
        for number, window in enumerate(windows):
            want, fits = by_hand(window, view, other)
            assert placed.ids[number] == (number if fits else -1)
            want = want if fits else [0, 0, 80, 48]
            assert placed.boxes[number].tolist() == pytest.approx(want, abs=1e-5)
            shown.append(fits)
        kinds.add((view.flipped, other.flipped))
    assert len(kinds) == 4 and 500 < sum(shown) < len(shown) - 500


@pytest.mark.parametrize('flips', [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_the_same_crop_shows_every_window(flips):
    """Also those that begin on the border, whatever rounding does to them."""
    windows, rng = sliding_windows((224, 224), 48, 32), np.random.default_rng(0)
    want = windows.clone()
    if flips[0] != flips[1]:
        want[:, [0, 2]] = 224 - windows[:, [2, 0]]
    for _ in range(50):
        corner = rng.random(2) * 50
        box = [*corner, *(corner + 20 + rng.random(2) * 50)]
        placed = windows_in_view(windows, *(view_of(box, (224, 224), bool(f)) for f in flips))
        assert placed.ids.tolist() == list(range(36))
        assert placed.boxes.min() >= 0 and placed.boxes.max() <= 224
        assert (placed.boxes - want).abs().max() < 1e-4


def test_there_and_back():
    """Mapping the placed windows back gives the windows."""
    windows, pairs = sliding_windows((96, 96), 24, 16), 0
    for view, other in random_views(50, [(96, 96), (96, 96)], seed=1):
        placed = windows_in_view(windows, view, other)
        kept = placed.ids >= 0
        back = windows_in_view(placed.boxes[kept].double(), other, view)
        assert (back.ids >= 0).all()
        torch.testing.assert_close(back.boxes, windows[kept].float(), rtol=0, atol=1e-4)
        pairs += int(kept.sum())
    assert pairs > 50


def test_in_every_view_of_a_sample():
    """They slide over view 1; nothing is drawn for them."""
    image = np.random.default_rng(0).integers(0, 256, (150, 210, 3), dtype=np.uint8)
    views, windows = [{'size': 48}, {'size': 64}, {'size': 32}], {'type': 'SlidingWindows', 'window': 16}
    transform = MultiView(views, regions={'p4': {**windows, 'stride': 12, 'view': 1}})
    rngs = [np.random.default_rng(3) for _ in range(2)]
    sample = transform({'image': image, 'rng': rngs[0]})
    plain = MultiView(views)({'image': image, 'rng': rngs[1]})
    assert rngs[0].random() == rngs[1].random() and torch.equal(sample.boxes, plain.boxes)
    found = sample.regions['p4']
    assert [tuple(r.boxes.shape) for r in found] == [(16, 4)] * 3
    assert found[1].ids.tolist() == list(range(16))
    assert found[1].boxes.tolist() == sliding_windows((64, 64), 16, 12).tolist()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'window': 0}, 'window must be at least 1, got 0'),
        ({'stride': 0}, 'stride must be at least 1, got 0'),
        ({'view': 2}, r'SlidingWindows: view=\(2,\), but the views are 0 .. 1'),
        ({'window': 48}, r'48 px does not fit into a view of 32 x 96'),
    ],
)
def test_bad_options_are_named(options, message):
    views = [view_of((0, 0, 9, 9), (32, 96))] * 2
    with pytest.raises(ValueError, match=message):
        SlidingWindows(**{'window': 16, 'stride': 8} | options).choose({}, views)
