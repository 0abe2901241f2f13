"""Sliding windows: the official numbers, and where they lie in the other view, point by point."""

import pytest
import torch

from densecl.models.matching import pooled_boxes, share_area, sliding_windows, windows_in_view


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


def test_no_window_fits():
    with pytest.raises(ValueError, match=r'48 px does not fit into a view of 32 x 96'):
        sliding_windows((32, 96), 48, 32)


def crops(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, 2, generator=generator) * 60
    sides = 40 + torch.rand(count, 2, 2, generator=generator) * 80
    flips = torch.rand(count, 2, generator=generator) < 0.5
    boxes = torch.cat([corner, corner + sides], 2)
    return boxes[:, 0], boxes[:, 1], flips[:, 0], flips[:, 1]


def by_hand(window, crop, flip, size, other, other_flip, other_size):
    """One window, with Python's numbers: to the image, and into the other view."""
    height, width = size
    x1, y1, x2, y2 = window
    if flip:
        x1, x2 = width - x2, width - x1
    in_image = [
        crop[axis % 2] + value * (crop[axis % 2 + 2] - crop[axis % 2]) / (width, height)[axis % 2]
        for axis, value in enumerate((x1, y1, x2, y2))
    ]
    sides = other[2] - other[0], other[3] - other[1]
    x1, y1, x2, y2 = (
        (value - other[axis % 2]) / sides[axis % 2] * other_size[1 - axis % 2]
        for axis, value in enumerate(in_image)
    )
    if other_flip:
        x1, x2 = other_size[1] - x2, other_size[1] - x1
    return [x1, y1, x2, y2], x1 >= 0 and y1 >= 0 and x2 <= other_size[1] and y2 <= other_size[0]


def test_mapping_of_random_crops_and_flips():
    one, other, flips, other_flips = crops(100)
    size, other_size = (64, 96), (48, 80)
    windows = sliding_windows(size, 16, 12)
    placed, inside = windows_in_view(windows, one, flips, size, other, other_flips, other_size)
    assert placed.dtype == torch.float64 and placed.shape == (100, len(windows), 4)
    for b in range(100):
        for w, window in enumerate(windows.tolist()):
            want, fits = by_hand(
                window, one[b].tolist(), bool(flips[b]), size,
                other[b].tolist(), bool(other_flips[b]), other_size,
            )  # fmt: skip
            assert bool(inside[b, w]) == fits
            want = want if fits else [0, 0, 80, 48]
            assert placed[b, w].tolist() == pytest.approx(want, abs=1e-9)
    assert 500 < inside.sum() < inside.numel() - 500
    kinds = {(bool(a), bool(b)) for a, b in zip(flips, other_flips, strict=True)}
    assert len(kinds) == 4


@pytest.mark.parametrize('flips', [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_the_same_crop_shows_every_window(flips):
    """Also those that begin on the border, whatever rounding does to them."""
    box = torch.rand(200, 4) * 50
    box[:, 2:] += box[:, :2] + 20
    flip, other = (torch.full((200,), bool(f)) for f in flips)
    windows = sliding_windows((224, 224), 48, 32)
    placed, inside = windows_in_view(windows, box, flip, (224, 224), box, other, (224, 224))
    assert inside.all() and placed.min() >= 0 and placed.max() <= 224
    want = windows.clone()
    if flips[0] != flips[1]:
        want[:, [0, 2]] = 224 - windows[:, [2, 0]]
    assert (placed - want).abs().max() < 1e-6


def test_there_and_back():
    """Mapping the placed windows back gives the windows."""
    one, other, flips, other_flips = crops(50, seed=1)
    windows = sliding_windows((96, 96), 24, 16)
    placed, inside = windows_in_view(windows, one, flips, (96, 96), other, other_flips, (96, 96))
    assert inside.sum() > 50
    for b in inside.any(1).nonzero()[:, 0].tolist():
        kept = inside[b]
        back, fits = windows_in_view(
            placed[b][kept], other[b : b + 1], other_flips[b : b + 1], (96, 96),
            one[b : b + 1], flips[b : b + 1], (96, 96),
        )  # fmt: skip
        assert fits.all()
        torch.testing.assert_close(back[0], windows[kept])


def test_what_pooled_places_cover():
    found = pooled_boxes((14, 14), (3, 3), (224, 224))
    assert found.shape == (144, 4)
    assert found[0].tolist() == [0, 0, 48, 48] and found[-1].tolist() == [176, 176, 224, 224]
    assert found[1].tolist() == [16, 0, 64, 48]
    assert pooled_boxes((2, 4), (2, 3), (20, 80)).tolist() == [[0, 0, 60, 20], [20, 0, 80, 20]]


def test_to_touch_is_not_to_overlap():
    boxes = torch.tensor([[[0.0, 0, 10, 10], [5, 5, 6, 6]]])
    others = torch.tensor([[10.0, 0, 20, 10], [9, 9, 20, 20], [0, 0, 100, 100], [0, 10, 5, 20]])
    assert share_area(boxes, others).tolist() == [[[False, True, True, False], [False, False, True, False]]]
