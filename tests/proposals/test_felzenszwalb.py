"""Graph segmentation equals its definition written in plain Python and float64."""

import pickle
import sys

import cv2
import numpy as np
import pytest

from densecl.proposals.felzenszwalb import Felzenszwalb, describe_labels, felzenszwalb
from densecl.sample import sample_root

pytest.importorskip('numba')

STEPS = {8: ((0, 1), (1, 0), (1, 1), (1, -1)), 4: ((0, 1), (1, 0))}


def plain_segments(image: np.ndarray, scale: float, min_size: int, connectivity: int) -> np.ndarray:
    """Felzenszwalb & Huttenlocher's algorithm 1 on sets of pixels, every quantity looked up anew."""
    height, width = image.shape[:2]
    edges = []
    for y in range(height):
        for x in range(width):
            for down, right in STEPS[connectivity]:
                other = y + down, x + right
                if other[0] < height and 0 <= other[1] < width:
                    difference = image[y, x].astype(float) - image[other].astype(float)
                    edges.append((np.sqrt((difference**2).sum()), (y, x), other))
    edges.sort(key=lambda edge: edge[0])
    part = {(y, x): frozenset([(y, x)]) for y in range(height) for x in range(width)}
    inside = dict.fromkeys(part.values(), 0.0)

    def merge(first, second, weight):
        union = first | second
        part.update(dict.fromkeys(union, union))
        inside[union] = weight

    for weight, one, other in edges:
        first, second = part[one], part[other]
        bound = min(inside[c] + scale / len(c) for c in (first, second))
        if first != second and weight <= bound:
            merge(first, second, weight)
    for weight, one, other in edges:
        first, second = part[one], part[other]
        if first != second and min(len(first), len(second)) < min_size:
            merge(first, second, weight)
    labels, numbers = np.empty((height, width), int), {}
    for y in range(height):
        for x in range(width):
            labels[y, x] = numbers.setdefault(part[y, x], len(numbers))
    return labels


def blobs(seed: int, height: int, width: int, channels: int = 3) -> np.ndarray:
    """A noisy picture of a few flat rectangles."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, channels), 100)
    for _ in range(4):
        y, x = rng.integers(height - 2), rng.integers(width - 2)
        image[y : y + height // 2, x : x + width // 2] = rng.integers(256, size=channels)
    return (image + rng.integers(-12, 13, image.shape)).clip(0, 255).astype(np.uint8)


def segments_hang_together(labels: np.ndarray, connectivity: int) -> bool:
    """Whether OpenCV finds one component in each label."""
    masks = ((labels == label).astype(np.uint8) for label in range(labels.max() + 1))
    return all(cv2.connectedComponents(m, connectivity=connectivity)[0] == 2 for m in masks)


@pytest.mark.parametrize('connectivity', [4, 8])
@pytest.mark.parametrize(('scale', 'min_size'), [(30, 0), (100, 5), (400, 20)])
@pytest.mark.parametrize('shape', [(14, 17), (1, 30), (25, 2)])
def test_equals_the_plain_form(shape, scale, min_size, connectivity):
    for seed in range(4):
        image = blobs(seed, *(max(side, 3) for side in shape))[: shape[0], : shape[1]]
        labels = felzenszwalb(image, scale, 0, min_size, connectivity)
        assert labels.dtype == np.int32
        expected = plain_segments(image, scale, min_size, connectivity)
        np.testing.assert_array_equal(labels, expected)


def test_any_number_of_float_channels():
    image = blobs(5, 12, 15, channels=5).astype(np.float32)
    np.testing.assert_array_equal(felzenszwalb(image, 80, 0, 4), plain_segments(image, 80, 4, 8))
    scaled = felzenszwalb(image / 256, 80 / 256, 0, 4)  # the scale is in units of the values
    np.testing.assert_array_equal(scaled, plain_segments(image, 80, 4, 8))


@pytest.mark.parametrize('connectivity', [4, 8])
def test_no_segment_is_too_small_or_torn(connectivity):
    image = np.random.default_rng(0).integers(256, size=(60, 80, 3)).astype(np.uint8)
    labels = felzenszwalb(image, 50, 0.8, 40, connectivity)
    sizes = np.bincount(labels.ravel())
    assert len(sizes) > 5
    assert sizes.min() >= 40
    assert segments_hang_together(labels, connectivity)


def test_smoothing_removes_noise():
    clean = np.zeros((40, 40, 3), np.uint8)
    clean[:, 20:] = 200
    noise = np.random.default_rng(1).integers(-30, 31, clean.shape)
    noisy = (clean.astype(int) + noise).clip(0, 255).astype(np.uint8)
    counts = [felzenszwalb(noisy, 60, sigma, 0).max() + 1 for sigma in (0, 2)]
    assert counts[1] < counts[0] / 4


@pytest.mark.parametrize('shape', [(1, 1, 3), (1, 9, 3), (9, 1, 3), (20, 20, 3)])
def test_constant_images_are_one_segment(shape):
    labels = felzenszwalb(np.full(shape, 77, np.uint8), 1, 0.8, 0)
    np.testing.assert_array_equal(labels, np.zeros(shape[:2]))


def test_the_same_each_time_and_for_any_memory_order():
    image = blobs(3, 50, 60)
    labels = felzenszwalb(image, 100, 0.8, 20)
    np.testing.assert_array_equal(labels, felzenszwalb(np.asfortranarray(image), 100, 0.8, 20))
    mirrored = image[:, ::-1].copy()
    np.testing.assert_array_equal(labels, felzenszwalb(mirrored[:, ::-1], 100, 0.8, 20))


def test_bad_input_is_named():
    image = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(TypeError, match='uint8 or float32, got float64'):
        felzenszwalb(image.astype(float))
    with pytest.raises(TypeError, match='got list'):
        felzenszwalb(image.tolist())
    with pytest.raises(ValueError, match=r'expected uint8 \(H, W, 3\), not empty, got \(4, 4\)'):
        felzenszwalb(image[..., 0])
    with pytest.raises(ValueError, match='not empty'):
        felzenszwalb(image[:0])
    with pytest.raises(ValueError, match='not finite'):
        felzenszwalb(np.full((4, 4, 1), np.nan, np.float32))
    with pytest.raises(ValueError, match='scale: expected more than 0'):
        felzenszwalb(image, 0)
    with pytest.raises(ValueError, match='sigma'):
        felzenszwalb(image, sigma=-1)
    with pytest.raises(ValueError, match='min_size'):
        felzenszwalb(image, min_size=-1)
    with pytest.raises(ValueError, match='connectivity: expected 4 or 8, got 6'):
        felzenszwalb(image, connectivity=6)
    for short_side in (0, -5):
        with pytest.raises(ValueError, match=f'short_side: expected at least 1 .*, got {short_side}'):
            Felzenszwalb(short_side=short_side)


def check_description(labels):
    """Each label by itself."""
    coco = pytest.importorskip('pycocotools.mask')
    boxes, masks = describe_labels(labels)
    assert boxes.dtype == np.float32 and len(boxes) == len(masks) == labels.max() + 1
    for label, (box, mask) in enumerate(zip(boxes, masks, strict=True)):
        rows, columns = np.nonzero(labels == label)
        assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert mask == coco.encode(np.asfortranarray(labels == label, np.uint8))


@pytest.mark.parametrize('shape', [(1, 1), (1, 40), (40, 1), (2, 3), (17, 23), (60, 9)])
def test_labels_are_described_as_each_by_itself(shape):
    rng = np.random.default_rng(0)
    for count in (1, 2, 3, 50):
        for block in (1, 4):
            coarse = rng.integers(count, size=shape)
            labels = np.kron(coarse, np.ones((block, block), int))[: shape[0], : shape[1]]
            labels = np.unique(labels, return_inverse=True)[1].reshape(shape).astype(np.int32)
            check_description(labels)
            check_description(np.asfortranarray(labels))


def test_segments_of_a_photo_are_described_as_each_by_itself():
    image = cv2.imread(str(next((sample_root() / 'detection').rglob('*.jpg'))))[..., ::-1]
    labels = felzenszwalb(np.ascontiguousarray(image), 100, 0.8, 50)
    assert labels.max() > 20
    check_description(labels)
    check_description(cv2.resize(labels, (450, 333), interpolation=cv2.INTER_NEAREST))


@pytest.mark.parametrize('short_side', [None, 40])
def test_provider_gives_masks_that_cover_the_image_once(short_side):
    coco = pytest.importorskip('pycocotools.mask')
    image = np.zeros((80, 120, 3), np.uint8)
    image[20:60, 30:90] = 200
    provider = pickle.loads(pickle.dumps(Felzenszwalb(100, 0, 50, short_side)))
    proposals = provider(image, 'any')
    assert proposals.size == (80, 120)
    np.testing.assert_array_equal(proposals.boxes, [[0, 0, 120, 80], [30, 20, 90, 60]])
    masks = np.stack([coco.decode(mask) for mask in proposals.masks])
    np.testing.assert_array_equal(masks.sum(0), np.ones((80, 120)))
    np.testing.assert_array_equal(masks[1], image[..., 0] > 0)


def test_a_missing_package_is_named(monkeypatch):
    image = np.zeros((8, 8, 3), np.uint8)
    monkeypatch.setitem(sys.modules, 'pycocotools', None)
    with pytest.raises(ModuleNotFoundError, match=r"masks .* pip install 'densecl\[proposals\]'"):
        Felzenszwalb()(image, 'any')
    monkeypatch.setitem(sys.modules, 'numba', None)
    monkeypatch.delitem(sys.modules, 'densecl.proposals.graph_kernels')
    with pytest.raises(ModuleNotFoundError, match=r"numba.* pip install 'densecl\[proposals\]'"):
        felzenszwalb(image)
