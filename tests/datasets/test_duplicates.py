"""The leak check finds copies of photos, and only copies."""

import cv2
import numpy as np
import pytest
from oracles.sensor_files import four_bands

from densecl.datasets import SensorDecoder
from densecl.datasets.decode import UnreadableImageError
from densecl.datasets.duplicates import (
    Fingerprints,
    _bits,
    describe_duplicates,
    find_duplicates,
    fingerprints,
)
from densecl.runs.leak import leak_check
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


def test_broken_photos_of_a_pretraining_are_left_out_and_told(everything, tmp_path):
    (tmp_path / 'broken.jpg').write_bytes(b'no image')
    unreadable, paths = [], [everything.paths[0], tmp_path / 'broken.jpg', everything.paths[1]]
    found = fingerprints(paths, unreadable=unreadable)
    assert unreadable == [str(tmp_path / 'broken.jpg')] and found.paths == list(everything.paths[:2])
    assert len(find_duplicates(everything, found)) == 2
    labelled = sample_root() / 'bccd/instances_val.json'
    said = leak_check([tmp_path / 'broken.jpg', everything.paths[0]], labelled)
    assert said.endswith(' (unreadable and left out: 1 pretraining photos)')


def test_copies_of_images_of_another_sensor_are_found(everything, tmp_path):
    """12 bits, four channels, a hot pixel in each: half the size, another gain and offset, or mirrored."""
    change = {
        'same': lambda image: image,
        'half': lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
        'gain': lambda image: (image * 0.4 + 300).astype(np.uint16),
        'mirrored': lambda image: image[:, ::-1],
    }
    for folder in ('photos', *change):
        (tmp_path / folder).mkdir()
    for number, path in enumerate(everything.paths[::40]):
        image = four_bands(path, 120)
        image[5, 7] = 65535
        np.save(tmp_path / 'photos' / f'{number:02}.npy', image)
        if number % 2:
            for name, made in change.items():
                np.save(tmp_path / name / f'{number:02}.npy', made(image))
    decoder = SensorDecoder(4, dtype='uint16')
    photos, *copies = (fingerprints(sorted((tmp_path / f).iterdir()), decoder) for f in ('photos', *change))
    assert photos.thumbnails.std((1, 2)).min() > 20  # neither black nor white
    for name, other in zip(change, copies, strict=True):
        found = find_duplicates(photos, other)
        assert len(found) == len(other) == 8
        assert all(pair.photo[-6:] == pair.labelled[-6:] for pair in found)
        assert sum(pair.mirrored for pair in found) >= 7 if name == 'mirrored' else True
    even = Fingerprints(photos.paths[::2], photos.dct[::2], photos.gradient[::2], photos.thumbnails[::2])
    assert find_duplicates(even, copies[0]) == []
    with pytest.raises(UnreadableImageError, match=r'00\.npy has 4 channels'):
        fingerprints([tmp_path / 'photos/00.npy'], SensorDecoder(3))
