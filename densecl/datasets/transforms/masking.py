"""Masks as an option of a view: what holds the settings of a law of :mod:`.masks`."""

from dataclasses import dataclass

import numpy as np

from densecl.registry import TRANSFORMS

from .masks import Grid, random_mask


@dataclass(frozen=True)
class ViewMask:
    """Which patches of a view are masked: the ``mask`` of a :class:`ViewRecipe`.

    Attributes:
        patch: side of a patch in pixels; it must divide the sides of the view.
    """

    patch: int = 16

    def __post_init__(self) -> None:
        self._require(isinstance(self.patch, int) and self.patch > 0, 'patch', 'a side in pixels, above 0')

    def _require(self, valid: bool, name: str, expected: str) -> None:
        if not valid:
            got = getattr(self, name)
            raise ValueError(f'{type(self).__name__}: {name} must be {expected}, got {got!r}')

    def grid(self, size: tuple[int, int]) -> Grid:
        """Patches along the height and the width of a view.

        Raises:
            ValueError: ``patch`` does not divide ``size``.
        """
        if any(side % self.patch for side in size):
            raise ValueError(
                f'{type(self).__name__}: a view of size {size[0]} x {size[1]} is no whole number of patches '
                f'of {self.patch} px; change size or patch'
            )
        return size[0] // self.patch, size[1] // self.patch

    def draw(self, grid: Grid, rng: np.random.Generator) -> np.ndarray:
        """One mask, (h, w) bool, True = masked."""
        raise NotImplementedError


@TRANSFORMS.register_module()
@dataclass(frozen=True)
class RandomMask(ViewMask):
    """Patches at random, see :func:`densecl.datasets.transforms.masks.random_mask`.

    Attributes:
        patch: side of a patch in pixels; 16 in MAE, 32 in SparK and FCMAE.
        ratio: masked share; 0.75 in MAE, 0.6 in SparK and FCMAE.
        rounding: of the number of kept patches: ``int`` (MAE, FCMAE) or ``round`` (SparK).
    """

    ratio: float = 0.75
    rounding: str = 'int'

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(0 <= self.ratio <= 1, 'ratio', 'a share in [0, 1]')
        self._require(self.rounding in ('int', 'round'), 'rounding', "'int' or 'round'")

    def draw(self, grid: Grid, rng: np.random.Generator) -> np.ndarray:
        """One mask, (h, w) bool, True = masked."""
        return random_mask(grid, self.ratio, rng, self.rounding)
