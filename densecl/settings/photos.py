"""What a folder of photos is like: how many, how large, how many channels."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MAX_LOOKED_AT = 200


@dataclass(frozen=True)
class Photos:
    """A set of photos, as the rules see it.

    Attributes:
        count: number of photos.
        short_sides: in pixels; the value that a tenth of the photos stays below, the median, and the value
            that a tenth exceeds.
        channels: of the first photo.
    """

    count: int
    short_sides: tuple[int, int, int] = (480, 480, 480)
    channels: int = 3

    def __str__(self) -> str:
        low, middle, high = self.short_sides
        return f'{self.count:,} photos of {self.channels} channels, short side {middle} px ({low} to {high})'


def describe_photos(paths: Sequence[str | os.PathLike]) -> Photos:
    """Look at up to 200 photos, evenly spread over the list.

    Raises:
        ValueError: there is no photo.
        UnreadableImageError: one of them cannot be read.
    """
    if not len(paths):
        raise ValueError('there is no photo')
    chosen = [paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, MAX_LOOKED_AT).astype(int))]
    looks = [_look(path) for path in chosen]
    sides = np.percentile([side for side, _ in looks], [10, 50, 90]).round().astype(int)
    return Photos(len(paths), tuple(int(side) for side in sides), looks[0][1])


def _look(path: str | os.PathLike) -> tuple[int, int]:
    """Short side and channels of a file, from its header where that tells."""
    from PIL import Image

    from densecl.datasets.decode import decode_image

    try:
        with Image.open(path) as image:
            return min(image.size), 3 if image.mode in ('P', 'L', '1', 'CMYK', 'RGBA') else len(
                image.getbands()
            )
    except Exception:  # what PIL does not know, the decoder may, and it says what is wrong
        pixels = decode_image(path)
        return min(pixels.shape[:2]), pixels.shape[2]
