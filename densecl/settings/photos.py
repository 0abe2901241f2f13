"""Describes photos: their number, size and channels."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MAX_LOOKED_AT = 200
MOST_UNREADABLE = 0.01  # the data set's max_unreadable, by default
_NAMED = 10


@dataclass(frozen=True)
class Photos:
    """A set of photos, as input of the rules.

    Attributes:
        count: number of photos.
        short_sides: percentiles 10, 50 and 90 of the short side in pixels.
        channels, depth: number of channels and type of the first photo.
        unreadable: what is wrong with those of the photos looked at that cannot be read.
    """

    count: int
    short_sides: tuple[int, int, int] = (480, 480, 480)
    channels: int = 3
    depth: str = 'uint8'
    unreadable: tuple[str, ...] = ()

    def __str__(self) -> str:
        low, middle, high = self.short_sides
        text = f'{self.count:,} photos of {self.channels} channels ({self.depth})'
        bad = f'; left out, as {self.unreadable[0]}' if self.unreadable else ''
        bad += f' (and {len(self.unreadable) - 1} more)' if len(self.unreadable) > 1 else ''
        return f'{text}, short side {middle} px ({low} to {high}){bad}'


def describe_photos(
    paths: Sequence[str | os.PathLike],
    channels: int = 3,
    depth: str = 'uint8',
    most_unreadable: float = MOST_UNREADABLE,
) -> Photos:
    """Inspect up to 200 photos, evenly spread over the list.

    Args:
        paths: paths of the photos.
        channels, depth: number of channels and type of the images, if they are not read as 8-bit RGB.
        most_unreadable: largest share of them that may be unreadable.

    Raises:
        ValueError: there is no photo, or none can be read.
        UnreadableImageError: a larger share cannot be read, with which training would stop, too.
    """
    from densecl.datasets import UnreadableImageError

    if not len(paths):
        raise ValueError('there is no photo')
    chosen = [paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, MAX_LOOKED_AT).astype(int))]
    found, unreadable = [], []
    for path in chosen:
        try:
            found.append(_short_side(path))
        except UnreadableImageError as error:
            unreadable.append(str(error))
    bad, seen = len(unreadable), len(chosen)
    if bad > most_unreadable * seen or not found:
        more = f'; and {bad - _NAMED} more' if bad > _NAMED else ''
        enough = min(math.ceil(20 * bad / seen) / 10, 1)  # files that are cut off show in training only
        remedy = f', or leave them out: --cfg-options train_dataloader.dataset.max_unreadable={enough:g}'
        limit = f'more than {100 * most_unreadable:g}%; ' if found else ''
        raise UnreadableImageError(
            f'{"; ".join(unreadable[:_NAMED])}{more} ({bad} of {seen} photos looked at cannot be read, '
            f'{limit}mend or remove them{remedy if found else ""})'
        )
    sides = np.percentile(found, [10, 50, 90]).round().astype(int)
    return Photos(len(paths), tuple(int(side) for side in sides), channels, depth, tuple(unreadable))


def _short_side(path: str | os.PathLike) -> int:
    """Short side in pixels; from the header if PIL knows the format."""
    from densecl.datasets.decode import open_header
    from densecl.datasets.sensor import load_bands

    try:
        with open_header(path) as image:
            return min(image.size)
    except Exception:  # unknown to PIL: the decoder may read it, or it says what is wrong
        return min(load_bands(path, os.fspath(path)).pixels.shape[:2])
