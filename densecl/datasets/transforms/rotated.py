"""``RotatedView``: a view rotated by multiples of 90 degrees; the rotation is its answer."""

from dataclasses import dataclass

import numpy as np

from densecl.registry import TRANSFORMS

from .drawn import DrawnView
from .recipe import ViewRecipe

TURNS = 4


@TRANSFORMS.register_module()
@dataclass
class RotatedView(ViewRecipe):
    """A :class:`ViewRecipe` rotated by k times 90 degrees counter-clockwise; its answer is k (RotNet, Gidaris
    et al., ICLR 2018).

    The rotation comes after the flip and loses no pixel: ``np.rot90(view, k)``. (With a flip after it, 90 and
    270 degrees could not be distinguished.) The view's geometry includes it. An entry of
    :class:`MultiView`'s ``views``.

    Attributes:
        every: make all four rotations of each crop, in the order 0, 90, 180, 270 degrees: 4 * ``count`` views
            (the authors' code). Otherwise one random rotation: ``count`` views (VISSL).
    """

    every: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(self.size[0] == self.size[1], 'size', 'a square, which a quarter turn keeps')

    def draw(self, image: np.ndarray, rng: np.random.Generator, *args) -> list[DrawnView]:
        """The views of an image (H, W, C); see :class:`ViewRecipe`."""
        views = super().draw(image, rng, *args)
        turns = [range(TURNS) if self.every else [int(rng.integers(TURNS))] for _ in views]
        return [v._replace(turns=k, answer=k) for v, ks in zip(views, turns, strict=True) for k in ks]
