"""``RotatedView``: a view turned by quarters, and the answer how far."""

from dataclasses import dataclass

import numpy as np

from densecl.registry import TRANSFORMS

from .drawn import DrawnView
from .recipe import ViewRecipe

TURNS = 4


@TRANSFORMS.register_module()
@dataclass
class RotatedView(ViewRecipe):
    """A :class:`ViewRecipe` turned by k quarters counter-clockwise, whose answer is k (RotNet, Gidaris et
    al., ICLR 2018).

    The turn comes after the flip and loses no pixel: ``np.rot90(view, k)``. (Of a view that is mirrored after
    it, 90 and 270 degrees could not be told apart.) Its geometry knows of it. An entry of
    :class:`MultiView`'s ``views``.

    Attributes:
        every: of each crop all four turns, in the order 0, 90, 180, 270 degrees, as 4 * ``count`` views (the
            authors' code); otherwise one at random, as ``count`` views (VISSL).
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
