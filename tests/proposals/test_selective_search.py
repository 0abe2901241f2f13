"""Hierarchical grouping equals its definition; boxes, determinism, odd images and the provider."""

import pickle

import cv2
import numpy as np
import pytest

from densecl.proposals.selective_search import (
    STRATEGIES,
    SelectiveSearch,
    _ranked,
    colours,
    derivatives,
    selective_search,
)
from densecl.registry import PROPOSALS

pytest.importorskip('numba')

from densecl.proposals import region_kernels as kernels  # noqa: E402

TERMS = [(True, True, True, True), (False, True, True, True), (False, False, False, True)]


def picture(seed: int, height: int, width: int, channels: int = 3) -> np.ndarray:
    """Smooth random colours."""
    rng = np.random.default_rng(seed)
    image = cv2.GaussianBlur(rng.random((height, width, channels)), (0, 0), 2)
    image = image.reshape(height, width, channels)
    return (255 * (image - image.min()) / np.ptp(image)).astype(np.uint8)


def label_map(seed: int, height: int, width: int, count: int) -> np.ndarray:
    """Cells of random points that hang together."""
    rng = np.random.default_rng(seed)
    points = rng.random((count, 2)) * (height, width)
    cells = np.stack(np.indices((height, width)), -1)
    nearest = ((cells[:, :, None] - points) ** 2).sum(-1).argmin(-1)
    return np.unique(nearest, return_inverse=True)[1].reshape(height, width).astype(np.int32)


def histogram(values: np.ndarray, bins: int) -> np.ndarray:
    return np.bincount(values, minlength=bins) / values.size


def look(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The colour and texture histograms of a region, each adding up to one."""
    colour = [histogram(plane[mask].astype(int) * 25 // 256, 25) for plane in np.moveaxis(image, -1, 0)]
    texture = []
    dx, dy = (part.astype(np.float64) for part in derivatives(image))
    for slope in (dx, dx + dy, dy, dy - dx):
        for channel in range(image.shape[2]):
            for half in (slope[..., channel].clip(0), (-slope[..., channel]).clip(0)):
                values = (half * np.float32(10 / (half.max() + 1))).astype(int)
                texture.append(histogram(values[mask], 10))
    return np.concatenate(colour) / len(colour), np.concatenate(texture) / len(texture)


def plain_similarity(image: np.ndarray, one: np.ndarray, other: np.ndarray, terms: tuple) -> float:
    """Eq. 1, 3, 4 and 5 of the paper on the masks of two regions."""
    looks = [look(image, mask) for mask in (one, other)]
    y, x = np.nonzero(one | other)
    box = (np.ptp(y) + 1) * (np.ptp(x) + 1)
    values = [
        np.minimum(looks[0][0], looks[1][0]).sum(),
        np.minimum(looks[0][1], looks[1][1]).sum(),
        1 - (one.sum() + other.sum()) / one.size,
        1 - (box - one.sum() - other.sum()) / one.size,
    ]
    return np.mean([value for value, used in zip(values, terms, strict=True) if used])


def touch(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two masks are 8-neighbours."""
    return bool((cv2.dilate(one.astype(np.uint8), np.ones((3, 3))) & other.astype(np.uint8)).any())


def plain_hierarchy(image: np.ndarray, labels: np.ndarray, terms: tuple) -> list[tuple[float, int, int]]:
    """Merge the most similar neighbours, everything computed anew from masks; best first of the ties."""
    masks = {label: labels == label for label in range(labels.max() + 1)}
    merges = []
    similarities = {
        (a, b): plain_similarity(image, masks[a], masks[b], terms)
        for a in masks
        for b in masks
        if a < b and touch(masks[a], masks[b])
    }
    new = len(masks)
    while similarities:
        best = max(similarities.values())
        a, b = min(pair for pair, value in similarities.items() if value > best - 1e-12)
        merges.append((a, b))
        masks[new] = masks.pop(a) | masks.pop(b)
        similarities = {p: s for p, s in similarities.items() if not {a, b} & set(p)}
        for other in masks:
            if other != new and touch(masks[other], masks[new]):
                similarities[other, new] = plain_similarity(image, masks[other], masks[new], terms)
        new += 1
    return merges


def grouped(image: np.ndarray, labels: np.ndarray, terms: tuple) -> tuple[np.ndarray, np.ndarray]:
    """Boxes and merges of the compiled form."""
    count = labels.max() + 1
    described = kernels.describe(labels, count, kernels.pixel_bins(image, *derivatives(image)))
    pairs = kernels.neighbours(labels, count)
    return kernels.group(*described, pairs, image.shape[2], labels.size, terms)


@pytest.mark.parametrize('terms', TERMS)
@pytest.mark.parametrize('channels', [1, 3])
def test_merges_come_in_the_order_of_the_plain_form(terms, channels):
    for seed in range(3):
        image, labels = picture(seed, 30, 40, channels), label_map(seed, 30, 40, 12)
        boxes, merges = grouped(image, labels, terms)
        assert list(map(tuple, merges)) == plain_hierarchy(image, labels, terms)
        masks = [labels == label for label in range(labels.max() + 1)]
        for a, b in merges:
            masks.append(masks[a] | masks[b])
        for mask, box in zip(masks, boxes, strict=True):
            y, x = np.nonzero(mask)
            assert tuple(box) == (x.min(), y.min(), x.max() + 1, y.max() + 1)


def test_histograms_are_those_of_the_masks():
    image, labels = picture(7, 25, 31), label_map(7, 25, 31, 9)
    bins = kernels.pixel_bins(image, *derivatives(image))
    sizes, _, histograms = kernels.describe(labels, labels.max() + 1, bins)
    for label, (size, counts) in enumerate(zip(sizes, histograms, strict=True)):
        colour, texture = look(image, labels == label)
        np.testing.assert_allclose(counts[:75] / (3 * size), colour, atol=1e-12)
        # directions come within channels here, channels within directions above
        ours = counts[75:].reshape(3, 4, 20).swapaxes(0, 1).ravel() / (24 * size)
        np.testing.assert_allclose(ours, texture, atol=1e-12)


def test_neighbours_are_found_once_each():
    labels = label_map(3, 40, 33, 20)
    expected = {
        (a, b)
        for a in range(labels.max() + 1)
        for b in range(a + 1, labels.max() + 1)
        if touch(labels == a, labels == b)
    }
    pairs = list(map(tuple, kernels.neighbours(labels, labels.max() + 1)))
    assert len(pairs) == len(set(pairs))
    assert set(pairs) == expected


@pytest.mark.parametrize('strategy', STRATEGIES)
def test_finds_rectangles(strategy):
    image = np.full((120, 160, 3), (40, 90, 40), np.uint8)
    truth = [(10, 20, 60, 70), (80, 15, 150, 55), (70, 75, 110, 110)]
    for (x1, y1, x2, y2), colour in zip(truth, [(200, 40, 40), (40, 60, 220), (230, 220, 60)], strict=True):
        image[y1:y2, x1:x2] = colour
    boxes = selective_search(image, strategy, scale=100, sigma=0.0, min_size=30)
    assert set(truth) <= set(map(tuple, boxes.astype(int)))


@pytest.mark.parametrize('strategy', STRATEGIES)
def test_boxes_are_distinct_within_the_image_and_the_same_each_time(strategy):
    image = picture(1, 90, 130)
    boxes = selective_search(image, strategy, min_size=30)
    assert boxes.dtype == np.float32 and boxes.shape[1] == 4 and len(boxes) > 10
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= (130, 90)).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert len(np.unique(boxes, axis=0)) == len(boxes)
    assert (boxes == (0, 0, 130, 90)).all(1).any()
    np.testing.assert_array_equal(boxes, selective_search(image.copy(order='F'), strategy, min_size=30))


def test_boxes_from_the_top_of_a_hierarchy_tend_to_come_first_and_none_twice():
    tops = np.arange(40)[:, None, None]
    sides = np.arange(1, 101)[None, :, None]  # of 40 hierarchies, 100 boxes each, the largest at the end
    boxes = np.concatenate(np.broadcast_arrays(0, tops, sides, tops + sides), axis=2)
    ranked = _ranked([*boxes.astype(np.int32), boxes[0].astype(np.int32)])
    assert len(ranked) == len(np.unique(ranked, axis=0)) == 4000
    sides = ranked[:, 2]
    assert np.median(sides[:400]) > 70 > np.median(sides[-2000:])
    assert np.median(sides[-400:]) < 20


@pytest.mark.parametrize('shape', [(1, 1), (1, 50), (50, 1), (3, 2), (40, 60)])
@pytest.mark.parametrize('strategy', STRATEGIES)
def test_flat_and_tiny_images_give_the_whole_image(shape, strategy):
    boxes = selective_search(np.full((*shape, 3), 128, np.uint8), strategy)
    np.testing.assert_array_equal(boxes, [[0, 0, shape[1], shape[0]]])


def test_grey_images():
    grey = np.repeat(picture(4, 80, 80, 1), 3, axis=2)
    assert len(selective_search(grey, 'quality', min_size=20)) > 10


def test_colour_spaces():
    image = np.array([[[100, 50, 0], [0, 0, 0], [255, 255, 255]]], np.uint8)
    expected = [[[170, 85, 50], [0, 0, 0], [85, 85, 255]]]
    np.testing.assert_array_equal(colours(image, 'rgi'), expected)
    assert {space: colours(image, space).shape[2] for space in STRATEGIES['quality'].spaces} == {
        'hsv': 3,
        'lab': 3,
        'grey': 1,
        'hue': 1,
        'rgi': 3,
    }


def test_bad_input_is_named():
    image = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(TypeError, match='expected uint8 RGB, got float32'):
        selective_search(image.astype(np.float32))
    with pytest.raises(TypeError, match='got float64'):
        selective_search(image.astype(float))
    with pytest.raises(ValueError, match=r'\(H, W, 3\)'):
        selective_search(image[..., :2])
    with pytest.raises(ValueError, match="strategy must be .*'fast'.*, got 'slow'"):
        selective_search(image, 'slow')
    with pytest.raises(ValueError, match='scale'):
        selective_search(image, scale=-1)
    with pytest.raises(ValueError, match='strategy'):
        SelectiveSearch(strategy='slow')
    for short_side in (0, -5):
        with pytest.raises(ValueError, match=f'short_side: expected at least 1 .*, got {short_side}'):
            SelectiveSearch(short_side=short_side)


def test_provider_keeps_the_first_boxes_and_scales_back():
    image = picture(5, 160, 240)
    provider = PROPOSALS.build(dict(type='SelectiveSearch', min_size=50, max_boxes=20))
    proposals = pickle.loads(pickle.dumps(provider))(image, 'any')
    assert proposals.size == (160, 240)
    np.testing.assert_array_equal(proposals.boxes, selective_search(image, min_size=50)[:20])
    small = SelectiveSearch(min_size=50, short_side=80)(image, 'any')
    halved = cv2.resize(image, (120, 80), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(small.boxes, 2 * selective_search(halved, min_size=50))
    assert small.size == (160, 240)
