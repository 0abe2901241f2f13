"""``ContextPairs``: two neighbouring patches of a photo, and the position of the second."""

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np

from densecl.registry import TRANSFORMS

from .crop import INTERPOLATIONS
from .drawn import Crop, DrawnView

#: Answer -> position (x, y) of the second patch relative to the first: row by row, without the centre.
NEIGHBOURS = ((-1, -1), (0, -1), (1, -1), (-1, 0), (1, 0), (-1, 1), (0, 1), (1, 1))
#: Value of a dropped channel: the mean of ImageNet's photos.
LEVELS = (123, 116, 103)


@TRANSFORMS.register_module()
class ContextPairs:
    """Pairs of neighbouring patches with a gap between them (Doersch, Gupta and Efros, ICCV 2015).

    The photo is resized with its aspect ratio; each pair has a random place in it. The views are the first
    and the second patch of each pair in turn. The answer of a second patch is its position relative to the
    first, 0 to 7 in :data:`NEIGHBOURS`; a first patch has no answer. Three measures remove cues that reveal
    the position without knowledge of objects: gap and jitter against continuous edges, dropped colours
    against colour fringes, and a coarse copy against fine texture. An entry of :class:`MultiView`'s
    ``views``.

    Args:
        patch: side of a patch in pixels.
        gap: pixels between two patches.
        jitter: largest random shift of each patch in pixels, along both axes.
        pixels: smallest and largest number of pixels of the resized photo, uniform; it is larger if two
            patches would not fit.
        pairs: number of pairs.
        drop_colours: keep one random channel of each patch; the others get a constant value, plus noise of 0
            or 1 on the scale 0..255.
        coarse: probability that a patch is made smaller and then large again. The number of pixels of the
            small patch is uniform between a hundredth and all of its own.
        interpolation: ``bilinear`` or ``bicubic``.
    """

    takes_photo = True

    def __init__(
        self,
        patch: int = 96,
        gap: int = 48,
        jitter: int = 7,
        pixels: tuple[int, int] = (150_000, 450_000),
        pairs: int = 4,
        drop_colours: bool = True,
        coarse: float = 0.33,
        interpolation: str = 'bilinear',
    ) -> None:
        self.patch, self.gap, self.jitter, self.pixels, self.pairs = patch, gap, jitter, tuple(pixels), pairs
        self.drop_colours, self.coarse, self.interpolation = drop_colours, coarse, interpolation
        self._require(patch > 0, 'patch', 'above 0')
        self._require(gap >= 0, 'gap', '0 or more')
        self._require(jitter >= 0, 'jitter', '0 or more')
        self._require(
            2 * jitter <= gap or jitter == 0, 'jitter', 'at most half the gap: patches must not touch'
        )
        self._require(0 < pixels[0] <= pixels[1], 'pixels', '(least, most), above 0')
        self._require(pairs > 0, 'pairs', 'above 0')
        self._require(0 <= coarse <= 1, 'coarse', 'a probability')
        self._require(interpolation in INTERPOLATIONS, 'interpolation', f'in {INTERPOLATIONS}')

    def _require(self, valid: bool, name: str, expected: str) -> None:
        if not valid:
            raise ValueError(f'ContextPairs: {name} must be {expected}, got {getattr(self, name)!r}')

    def check_images(self, channels: int, dtype: str | None) -> None:
        """Refuse images other than 8-bit RGB if colours are dropped."""
        if self.drop_colours and (channels != 3 or dtype not in (None, 'uint8')):
            raise ValueError(
                f'ContextPairs: drop_colours is for 8-bit RGB, the images have {channels} channels '
                f'({dtype or "any depth"}): set drop_colours=False'
            )

    def draw(self, image: np.ndarray, rng: np.random.Generator) -> list[DrawnView]:
        """The ``2 * pairs`` views of an image (H, W, C)."""
        self.check_images(image.shape[2], image.dtype.name)
        height, width = image.shape[:2]
        factor = (rng.uniform(*self.pixels) / (height * width)) ** 0.5
        least = 2 * (self.patch + self.jitter) + self.gap
        size = max(round(height * factor), least), max(round(width * factor), least)
        crop = Crop((0, 0, width, height), size, interpolation=self.interpolation)
        return [view for _ in range(self.pairs) for view in self._pair(crop, rng)]

    def _pair(self, crop: Crop, rng: np.random.Generator) -> list[DrawnView]:
        answer, step = int(rng.integers(len(NEIGHBOURS))), self.patch + self.gap
        way = np.array(NEIGHBOURS[answer]) * step
        last = np.array(crop.size[::-1]) - self.patch - self.jitter
        first = rng.integers(self.jitter + np.maximum(-way, 0), last - np.maximum(way, 0) + 1)
        corners = np.stack([first, first + way]) + rng.integers(-self.jitter, self.jitter + 1, (2, 2))
        parts = [(x, y, x + self.patch, y + self.patch) for x, y in corners.tolist()]
        spoilt = [self._spoil(rng) for _ in parts]
        return [
            DrawnView(crop, part=part, recolour=recolour, answer=a)
            for part, recolour, a in zip(parts, spoilt, (None, answer), strict=True)
        ]

    def _spoil(self, rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray] | None:
        """Draw a function that removes cues from a patch; always uses as many values of ``rng``."""
        coarse, share = rng.random(2).tolist()
        side = round(self.patch * (0.01 + 0.99 * share) ** 0.5) if coarse < self.coarse else self.patch
        kept, seed = int(rng.integers(3)), int(rng.integers(2**31))
        return partial(spoil, side=max(side, 1), kept=kept if self.drop_colours else None, seed=seed)


def spoil(patch: np.ndarray, side: int, kept: int | None, seed: int) -> np.ndarray:
    """Resize a patch (P, P, C) to ``side`` x ``side`` and back; keep only channel ``kept`` (None: all)."""
    size = patch.shape[1::-1]
    if side < size[0]:
        small = cv2.resize(patch, (side, side), interpolation=cv2.INTER_AREA)
        patch = cv2.resize(small, size, interpolation=cv2.INTER_LINEAR).reshape(patch.shape)
    if kept is None:
        return patch
    noise = np.random.default_rng(seed).integers(0, 2, patch.shape, np.uint8)
    dropped = noise + np.array(LEVELS, np.uint8)
    dropped[:, :, kept] = patch[:, :, kept]
    return dropped
