"""Finds photos that are in two sets, also as re-encoded, resized, mirrored or slightly cropped copies.

The figure of a probe means little if the network has seen the evaluation photos in pretraining. Two 64-bit
perceptual hashes propose pairs of photos. The fine structure of small thumbnails then decides.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from .decode import decode_scaled
from .unreadable import UnreadableImageError

SIDE = 64
"""Side of the thumbnails, in pixels; photos are squeezed into a square."""
MAX_DISTANCE = 20
"""Bits in which both hashes of a proposed pair may differ. Unrelated photos differ in 32 on average, copies
with 5 % of each edge cropped off in at most 20."""
MIN_CORRELATION = 0.8
"""Least correlation of the fine structure. Of all unrelated pairs of the 652 bundled photos the highest is
0.76, and 98 % of copies with 5 % cropped off one corner lie above 0.8
(``tests/datasets/test_duplicates.py``)."""
_SCALES = (1.0, 0.95, 0.9, 0.85, 0.8)
_TILE = 4096


@dataclass(frozen=True)
class Fingerprints:
    """Fingerprints of N photos, 4 kB each.

    Attributes:
        paths: N paths.
        dct: (N, 64) bool, whether each of the lowest 8 x 8 frequencies is above their median (pHash).
        gradient: (N, 64) bool, whether brightness rises from one of 9 x 8 cells to the next (dHash).
        thumbnails: (N, SIDE, SIDE) uint8, grey.
    """

    paths: Sequence[str]
    dct: np.ndarray
    gradient: np.ndarray
    thumbnails: np.ndarray

    def __len__(self) -> int:
        return len(self.paths)


@dataclass(frozen=True)
class Duplicate:
    """A photo of the first set that shows the same picture as one of the second.

    Attributes:
        photo, labelled: the two paths.
        correlation: correlation of their fine structure, at most 1.
        mirrored: one is the mirror image of the other.
    """

    photo: str
    labelled: str
    correlation: float
    mirrored: bool


def fingerprints(
    paths: Iterable[str | os.PathLike], decoder: Callable | None = None, unreadable: list[str] | None = None
) -> Fingerprints:
    """Read photos and take their fingerprints, 1 to 3 ms each.

    Args:
        paths: of the files.
        decoder: path -> (H, W, C) of any depth, a :class:`densecl.datasets.SensorDecoder`. The grey image is
            the mean of the channels, scaled from its percentiles 1 and 99. None: 8-bit photos of any mode.
        unreadable: a list that gets the files that are no whole images, which are left out.

    Raises:
        UnreadableImageError: a file is not a whole image, and ``unreadable`` is None; the message names it.
    """
    paths = [os.fspath(path) for path in paths]
    grey, kept = np.zeros((len(paths), SIDE, SIDE), np.uint8), []
    for path in paths:
        try:
            image = _sensor_thumbnail(decoder(path)) if decoder else _thumbnail(decode_scaled(path, SIDE)[0])
        except UnreadableImageError:
            if unreadable is None:
                raise
            unreadable.append(path)
            continue
        grey[len(kept)] = image
        kept.append(path)
    return _of_thumbnails(kept, grey[: len(kept)])


def find_duplicates(
    photos: Fingerprints,
    labelled: Fingerprints,
    max_distance: int = MAX_DISTANCE,
    min_correlation: float = MIN_CORRELATION,
) -> list[Duplicate]:
    """For each labelled photo its best match among ``photos``, if any, in the order of ``labelled``.

    Args:
        photos: N photos, such as those of a pretraining.
        labelled: M photos, such as an evaluation set.
        max_distance: bits in which either 64-bit hash may differ.
        min_correlation: least correlation of the fine structure.
    """
    mirrored = _of_thumbnails(labelled.paths, labelled.thumbnails[:, :, ::-1])
    best: dict[int, Duplicate] = {}
    for flip, other in enumerate((labelled, mirrored)):
        for i, j in _near(photos, other, max_distance):
            value = _correlation(photos.thumbnails[i], other.thumbnails[j])
            if value >= min_correlation and (j not in best or value > best[j].correlation):
                best[j] = Duplicate(photos.paths[i], labelled.paths[j], value, bool(flip))
    return [best[j] for j in sorted(best)]


def describe_duplicates(found: Sequence[Duplicate], labelled: int) -> str:
    """One line for a user: how many of ``labelled`` photos were seen in pretraining, and an example."""
    if not found:
        return f'leak check: none of the {labelled} scored photos is (nearly) among the pretraining photos'
    first = found[0]
    how = 'the mirror image of' if first.mirrored else 'the same picture as'
    return (
        f'leak check: {len(found)} of the {labelled} scored photos are (nearly) among the pretraining '
        f'photos, such as {first.labelled}, {how} {first.photo}: figures on them say little about new photos'
    )


def _thumbnail(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 -> (SIDE, SIDE) uint8."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def _sensor_thumbnail(image: np.ndarray) -> np.ndarray:
    """(H, W, C) of any depth -> (SIDE, SIDE) uint8."""
    grey = cv2.resize(image.mean(2, dtype=np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    low, high = np.percentile(grey, (1, 99))
    return np.rint((grey - low).clip(0, high - low) * (255 / max(high - low, 1e-12))).astype(np.uint8)


def _of_thumbnails(paths: Sequence[str], grey: np.ndarray) -> Fingerprints:
    dct, gradient = np.zeros((2, len(grey), 64), bool)
    for row, image in enumerate(grey):
        small = cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
        low = cv2.dct(small)[:8, :8].ravel()
        dct[row] = low > np.median(low)
        cells = cv2.resize(image, (9, 8), interpolation=cv2.INTER_AREA).astype(np.int16)
        gradient[row] = (cells[:, 1:] > cells[:, :-1]).ravel()
    return Fingerprints(paths, dct, gradient, np.ascontiguousarray(grey))


def _near(one: Fingerprints, other: Fingerprints, max_distance: int) -> Iterable[tuple[int, int]]:
    """Pairs (i, j) whose hashes differ in at most ``max_distance`` bits, computed in tiles."""
    for start in range(0, len(one), _TILE):
        rows = slice(start, start + _TILE)
        near = _bits(one.dct[rows], other.dct) <= max_distance
        near &= _bits(one.gradient[rows], other.gradient) <= max_distance
        for i, j in np.argwhere(near):
            yield start + int(i), int(j)


def _bits(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, 64) and (M, 64) bool -> (N, M), number of different bits; a matrix product of signs."""
    a, b = (np.where(bits, np.float32(1), np.float32(-1)) for bits in (a, b))
    return (a.shape[1] - a @ b.T) / 2


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """The largest correlation of two thumbnails; either one may be a crop of the other.

    Smooth structure is removed first, because unrelated photos of one kind (a dress on a white wall) share
    it.
    """
    a, b = _fine(a), _fine(b)
    values = []
    for scale in _SCALES:
        side = round(SIDE * scale)
        for whole, part in ((a, b), (b, a)):
            part = cv2.resize(part, (side, side), interpolation=cv2.INTER_AREA)
            values.append(cv2.matchTemplate(whole, part, cv2.TM_CCOEFF_NORMED).max())
    return float(max(values))


def _fine(grey: np.ndarray) -> np.ndarray:
    grey = grey.astype(np.float32)
    return grey - cv2.GaussianBlur(grey, (0, 0), 4)
