"""``RandAugmentView``: a view with random colour operators before its photometric augmentation."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torchvision.transforms.v2 import functional as F

from densecl.registry import TRANSFORMS

from .drawn import DrawnView
from .recipe import ViewRecipe

#: Name -> operator on a uint8 (3, H, W) image, with a strength in [0, 1] and a random sign. The ranges are
#: the paper's, as in torchvision's ``RandAugment``.
OPERATORS = {
    'identity': lambda image, strength, sign: image,
    'brightness': lambda image, strength, sign: F.adjust_brightness(image, 1 + sign * 0.9 * strength),
    'saturation': lambda image, strength, sign: F.adjust_saturation(image, 1 + sign * 0.9 * strength),
    'contrast': lambda image, strength, sign: F.adjust_contrast(image, 1 + sign * 0.9 * strength),
    'sharpness': lambda image, strength, sign: F.adjust_sharpness(image, 1 + sign * 0.9 * strength),
    'posterize': lambda image, strength, sign: F.posterize(image, 8 - round(4 * strength)),
    'solarize': lambda image, strength, sign: F.solarize(image, round(255 * (1 - strength))),
    'autocontrast': lambda image, strength, sign: F.autocontrast(image),
    'equalize': lambda image, strength, sign: F.equalize(image),
}


@TRANSFORMS.register_module()
@dataclass
class RandAugmentView(ViewRecipe):
    """A :class:`ViewRecipe` with RandAugment (Cubuk et al., 2020) between crop and ``photometric``.

    It has only the operators that change colours. Shear, shift and rotation would move pixels without a
    change of the view's box; losses that compare places would then get wrong places. The data worker applies
    it. An entry of :class:`MultiView`'s ``views``.

    Attributes:
        operators: number of operators applied, drawn with replacement.
        magnitude: their strength, 0..30; operators with two directions draw one of them.
    """

    operators: int = 2
    magnitude: float = 9

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(
            isinstance(self.operators, int) and self.operators >= 0, 'operators', 'an int of at least 0'
        )
        self._require(0 <= self.magnitude <= 30, 'magnitude', 'a number in 0..30')

    def check_images(self, channels: int, dtype: str | None) -> None:
        """Refuse images other than 8-bit RGB."""
        if self.operators and (channels != 3 or dtype not in (None, 'uint8')):
            raise ValueError(
                f'RandAugmentView.operators={self.operators} is for 8-bit RGB only, the images have '
                f'{channels} channels ({dtype or "any depth"}): leave type out for a plain view'
            )
        super().check_images(channels, dtype)

    def draw(self, image: np.ndarray, rng: np.random.Generator, *args) -> list[DrawnView]:
        """The ``count`` views of a uint8 (H, W, 3) image; see :class:`ViewRecipe`."""
        self.check_images(image.shape[2], image.dtype.name)
        return [self._recoloured(view, rng) for view in super().draw(image, rng, *args)]

    def _recoloured(self, view: DrawnView, rng: np.random.Generator) -> DrawnView:
        chosen = rng.integers(len(OPERATORS), size=self.operators)
        signs = rng.choice((-1, 1), self.operators)
        return view._replace(recolour=partial(self._apply, chosen.tolist(), signs.tolist()))

    def _apply(self, chosen: list[int], signs: list[int], pixels: np.ndarray) -> np.ndarray:
        operators = list(OPERATORS.values())
        image = torch.from_numpy(pixels).permute(2, 0, 1)
        for number, sign in zip(chosen, signs, strict=True):
            image = operators[number](image, self.magnitude / 30, sign)
        return np.ascontiguousarray(image.permute(1, 2, 0).numpy())
