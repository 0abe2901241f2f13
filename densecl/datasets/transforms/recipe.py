"""``ViewRecipe``: how a view is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from densecl.building import construct
from densecl.datasets.decode import Photo
from densecl.registry import TRANSFORMS

from .corruption import Replacement
from .crop import INTERPOLATIONS, sample_crop
from .drawn import Crop, DrawnView
from .mask_ratios import BatchRatios
from .masking import ViewMask
from .photometric import Photometric, is_rgb
from .warp import IDENTITY, UPSIDE_DOWN, Warp, then

_FLIP = 'a probability, or None together with crop_of'


@dataclass
class ViewRecipe:
    """How ``count`` views of an image are made.

    Attributes:
        count: number of views with this recipe.
        size: side, or height and width, of the view in pixels.
        scale: lower and upper share of the image's area that a crop covers. None: the whole image is
            resized to ``size`` without keeping its aspect ratio (SoCo's first view).
        ratio: lower and upper aspect ratio (width / height) of a crop.
        flip: probability of a horizontal flip. None, with ``crop_of``: flips, warp and rotation are those
            of that view.
        flip_vertical: probability of a vertical flip.
        warp: arguments of :class:`Warp` (rotation, affine, perspective), or None.
        interpolation: ``bilinear`` or ``bicubic``, both antialiased.
        photometric: arguments of :class:`Photometric`, or None for no such augmentation.
        crop_of: number of an earlier view, counted from 0, whose crop this view shows too; ``scale`` and
            ``ratio`` are then ignored. Flip and photometric parameters are drawn separately. The view is
            resized from the image. (View 4 of SoCo* resizes the 224 px crop to 112 px, before its flip and
            photometric augmentation, which are also drawn separately.)
        mask: which patches are masked, ``dict(type='RandomMask', patch=16, ratio=0.75)`` for example, or
            None. Every view draws its own mask, after everything else.
        corruption: entries such as ``dict(mask=dict(type='GMMLMask'), fill='zeros')``, see
            :class:`Replacement`; each view draws one. Its mask says which pixels are replaced for the online
            branch; no patch is hidden from it. Or None; not together with ``mask``.
        generated: the views are cut from the photo's generated image (``PretrainDataset(generated=...)``).
            Their place in the photo is unknown.
    """

    count: int = 1
    size: int | tuple[int, int] = 224
    scale: tuple[float, float] | None = (0.2, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float | None = 0.5
    interpolation: str = 'bilinear'
    photometric: Photometric | None = None
    crop_of: int | None = None
    mask: ViewMask | None = None
    corruption: Sequence[Replacement] | None = None
    flip_vertical: float = 0.0
    warp: Warp | None = None
    generated: bool = False

    def __post_init__(self) -> None:
        self.size = (self.size, self.size) if isinstance(self.size, int) else tuple(self.size)
        if isinstance(self.photometric, dict):
            self.photometric = construct(Photometric, self.photometric, 'photometric')
        if not isinstance(self.photometric, Photometric | None):
            raise ValueError(f'photometric must be a dict or None, got {self.photometric!r}')
        self._require(isinstance(self.count, int) and self.count > 0, 'count', 'a positive int')
        self._require(
            len(self.size) == 2 and min(self.size) > 0, 'size', 'a side or (height, width), above 0'
        )
        self._require(
            self.scale is None or 0 < self.scale[0] <= self.scale[1] <= 1,
            'scale',
            '0 < low <= high <= 1, or None for the whole image',
        )
        self._require(0 < self.ratio[0] <= self.ratio[1], 'ratio', '0 < low <= high')
        follows = self.flip is None and self.crop_of is not None
        self._require(follows or 0 <= (-1 if self.flip is None else self.flip) <= 1, 'flip', _FLIP)
        self._require(0 <= self.flip_vertical <= 1, 'flip_vertical', 'a probability')
        if isinstance(self.warp, dict):
            self.warp = construct(Warp, self.warp, 'warp')
        apart = not self.generated or self.crop_of is None
        self._require(apart, 'crop_of', 'None where the view is cut from a generated image')
        plain = self.warp is None and not self.flip_vertical
        self._require(
            plain or self.flip is not None, 'flip', 'a probability where the view has a warp of its own'
        )
        self._require(self.interpolation in INTERPOLATIONS, 'interpolation', f'in {INTERPOLATIONS}')
        if isinstance(self.mask, dict):
            self.mask = TRANSFORMS.build(self.mask)
        self._require(
            self.mask is None or isinstance(self.mask, ViewMask), 'mask', "such as dict(type='RandomMask')"
        )
        self._build_corruption()
        masks = [self.mask] if self.corruption is None else [each.mask for each in self.corruption]
        grids = {None if mask is None else mask.grid(self.size) for mask in masks}
        self._require(len(grids) == 1, 'corruption', 'of masks with the same patch')
        (self.grid,) = grids

    def _build_corruption(self) -> None:
        if self.corruption is None:
            return
        expected = "entries such as dict(mask=dict(type='GMMLMask'), fill='zeros'), and mask=None"
        listed = isinstance(self.corruption, list | tuple) and len(self.corruption) > 0
        self._require(listed and self.mask is None, 'corruption', expected)
        built = [
            construct(Replacement, each, 'corruption') if isinstance(each, dict) else each
            for each in self.corruption
        ]
        of_batch = any(isinstance(getattr(each.mask, 'ratio', None), BatchRatios) for each in built)
        self._require(not of_batch, 'corruption', 'of masks that each view draws by itself, not BatchRatios')
        self.corruption = built

    def _require(self, valid: bool, name: str, expected: str) -> None:
        if not valid:
            got = getattr(self, name)
            raise ValueError(f'view recipe: {name} must be {expected}, got {got!r}')

    def check_images(self, channels: int, dtype: str | None) -> None:
        """Refuse images that ``photometric`` cannot take; see :meth:`Photometric.check_images`."""
        if self.photometric:
            self.photometric.check_images(channels, dtype)
        grays = any(each.fill == 'gray' for each in self.corruption or ())
        if grays and not (channels == 3 and dtype in (None, 'uint8')):
            raise ValueError(
                f"corruption: fill='gray' is for 8-bit RGB, the images have {channels} channels "
                f'({dtype or "any depth"}); take another fill'
            )

    def draw(
        self,
        image: np.ndarray | Photo,
        rng: np.random.Generator,
        of: DrawnView | None = None,
    ) -> list[DrawnView]:
        """The ``count`` views of an image (H, W, C); all of the crop of view ``of`` if one is given."""
        if self.photometric and not is_rgb(image):
            self.photometric.check_images(image.shape[2], image.dtype.name)
        height, width = image.shape[:2]
        return [self._draw_one(height, width, rng, of) for _ in range(self.count)]

    def _draw_one(self, height: int, width: int, rng: np.random.Generator, of: DrawnView | None) -> DrawnView:
        if of is not None:
            box = of.crop.box
        elif self.scale is None:
            box = 0, 0, width, height
        else:
            box = sample_crop(rng, height, width, self.scale, self.ratio)
        flipped = of.flipped if self.flip is None else rng.random() < self.flip
        params = self.photometric.draw(rng) if self.photometric else None
        crop = Crop(box, self.size, flipped, self.interpolation)
        turns = None
        if of is not None and self.flip is None:
            crop, turns = crop._replace(warp=of.crop.warp, fill=of.crop.fill), of.turns
        elif self.flip_vertical or self.warp is not None:
            crop = self._warped(crop, rng)
        if self.corruption is not None:
            chosen = self.corruption[rng.integers(len(self.corruption))]
            mask = chosen.mask.draw(self.grid, rng)
            return DrawnView(crop, params, mask=mask, corruption=chosen.draw(rng), turns=turns)
        mask = None if self.mask is None else self.mask.draw(self.grid, rng)
        asked = None if self.mask is None else self.mask.draw_asked(mask, rng)
        return DrawnView(crop, params, mask=mask, asked=asked, turns=turns)

    def _warped(self, crop: Crop, rng: np.random.Generator) -> Crop:
        upside_down = UPSIDE_DOWN if rng.random() < self.flip_vertical else IDENTITY
        if self.warp is None:
            return crop._replace(warp=upside_down)
        return crop._replace(warp=then(upside_down, self.warp.draw(rng, self.size)), fill=self.warp.fill)
