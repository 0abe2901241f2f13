"""The leak check finds copies of photos, and only copies."""

import cv2
import numpy as np
import pytest

from densecl.datasets.decode import UnreadableImageError
from densecl.datasets.duplicates import (
    Fingerprints,
    _bits,
    describe_duplicates,
    find_duplicates,
    fingerprints,
)
from densecl.sample import sample_root


def sample() -> list[str]:
    """652 photos, some of which are of one kind: clothes before a plain wall."""
    root = sample_root()
    photos = [*root.glob('photos/*/*.jpg'), *root.glob('detection/*/*.jpg')]
    return [str(path) for path in sorted(photos)]


@pytest.fixture(scope='module')
def everything() -> Fingerprints:
    return fingerprints(sample())


COPIES = {
    'encoded': lambda image: cv2.imdecode(cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], 1),
    'resized': lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    'brighter': lambda image: cv2.convertScaleAbs(image, alpha=1.15, beta=8),
    'mirrored': lambda image: image[:, ::-1],
    'cropped': lambda image: image[round(0.05 * len(image)) :, : round(0.95 * image.shape[1])],
}
FOUND = {'encoded': 1, 'resized': 1, 'brighter': 0.98, 'mirrored': 1, 'cropped': 0.9}


@pytest.mark.parametrize('kind', COPIES)
def test_copies_are_found(kind, everything, tmp_path):
    originals = everything.paths[::13]
    for number, path in enumerate(originals):
        cv2.imwrite(str(tmp_path / f'{number:03}.png'), COPIES[kind](cv2.imread(path)))
    copies = fingerprints(sorted(tmp_path.iterdir()))
    found = find_duplicates(everything, copies)
    right = {
        int(pair.labelled[-7:-4]): pair
        for pair in found
        if pair.photo == originals[int(pair.labelled[-7:-4])]
    }
    assert len(right) == len(found)
    assert len(right) >= FOUND[kind] * len(originals)
    symmetric = 2  # a photo that is its own mirror image may be found either way
    assert sum(pair.mirrored == (kind == 'mirrored') for pair in found) >= len(found) - symmetric


def test_unrelated_photos_are_not_found(everything):
    halves = [
        Fingerprints(
            everything.paths[k::2],
            everything.dct[k::2],
            everything.gradient[k::2],
            everything.thumbnails[k::2],
        )
        for k in (0, 1)
    ]
    assert find_duplicates(*halves) == []
    assert len(find_duplicates(everything, halves[1])) == 326


def test_hamming_distance_is_exact():
    rng = np.random.default_rng(0)
    a, b = rng.random((7, 64)) < 0.5, rng.random((5, 64)) < 0.5
    assert np.array_equal(_bits(a, b), (a[:, None] != b[None]).sum(-1))


def test_report_names_an_example(everything):
    found = find_duplicates(everything, fingerprints(everything.paths[:2]))
    text = describe_duplicates(found, 10)
    assert text.startswith('leak check: 2 of the 10 scored photos') and everything.paths[0] in text
    assert '\n' not in text
    assert 'none of the 10' in describe_duplicates([], 10)


def test_a_broken_photo_is_named(tmp_path):
    (tmp_path / 'broken.jpg').write_bytes(b'no image')
    with pytest.raises(UnreadableImageError, match='broken.jpg'):
        fingerprints([tmp_path / 'broken.jpg'])
