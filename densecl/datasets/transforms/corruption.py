"""Corruption as an option of a view: which of its pixels are replaced, and by what."""

from dataclasses import dataclass

import numpy as np

from densecl.messages import check_choice
from densecl.registry import TRANSFORMS
from densecl.structures import Corruption

from .masking import ViewMask

_FILLS = ('zeros', 'noise', 'batch', 'gray')


@dataclass
class Replacement:
    """An entry of the ``corruption`` of a :class:`ViewRecipe`.

    Attributes:
        mask: which patches are replaced, ``dict(type='GMMLMask')`` for example; without ``asked``.
        fill: the new values. ``'zeros'``: the mean of normalised pixels. ``'noise'``: normal noise with mean
            0 and standard deviation 1. ``'batch'``: the same place in an image of the batch, which may be the
            same image. ``'gray'``: the grey of the pixel's own lightness; 8-bit RGB only.
    """

    mask: ViewMask
    fill: str = 'zeros'

    def __post_init__(self) -> None:
        if isinstance(self.mask, dict):
            self.mask = TRANSFORMS.build(self.mask)
        if not isinstance(self.mask, ViewMask):
            raise ValueError(f"corruption: mask must be such as dict(type='GMMLMask'), got {self.mask!r}")
        if getattr(self.mask, 'asked', None) is not None:
            raise ValueError(
                f"corruption: mask's asked must be None, got {self.mask.asked!r}: replaced pixels are all "
                'predicted; leave it out, or give the view this mask as mask=, which hides patches'
            )
        check_choice('corruption: fill', self.fill, _FILLS)

    def draw(self, rng: np.random.Generator) -> Corruption:
        """Draw the replacement of one view's masked pixels."""
        if self.fill == 'batch':
            return Corruption.of(donor=rng.random())
        if self.fill == 'noise':
            return Corruption.of(noise_seed=int(rng.integers(2**53)))
        return Corruption.of(gray=self.fill == 'gray')
