"""Masks as an option of a view: classes with the settings of the functions in :mod:`.masks`."""

from dataclasses import dataclass

import numpy as np

from densecl.registry import TRANSFORMS
from densecl.structures import BatchMask

from . import masks
from .mask_ratios import BatchRatios, RatioChoice
from .masks import Grid


@dataclass
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

    def _require_share(self, name: str) -> None:
        self._require(0 <= getattr(self, name) <= 1, name, 'a share in [0, 1]')

    def _require_range(self, name: str) -> None:
        setattr(self, name, tuple(getattr(self, name)))  # a config has lists; tuples can be compared
        low, high = getattr(self, name)
        self._require(0 < low <= high, name, '0 < low <= high')

    def grid(self, size: tuple[int, int]) -> Grid:
        """Patches along the height and the width of a view.

        Raises:
            ValueError: ``patch`` does not divide ``size``, or the grid does not fit the mask.
        """
        self._check_size(size, 'patch')
        return size[0] // self.patch, size[1] // self.patch

    def _check_size(self, size: tuple[int, int], name: str) -> None:
        side = getattr(self, name)
        if size[0] % side or size[1] % side:
            raise ValueError(
                f'{type(self).__name__}: {name}={side} px does not divide both sides of the view, size '
                f'{size[0]} x {size[1]}; change {name} or size'
            )

    def draw(self, grid: Grid, rng: np.random.Generator) -> np.ndarray | BatchMask:
        """One mask, (h, w) bool, True = masked; or a mask that is drawn when the batch is collated."""
        raise NotImplementedError

    def draw_asked(self, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
        """(n,) int64, the masked patches that a predictor has to predict; None: all."""
        return None


@TRANSFORMS.register_module()
@dataclass
class RandomMask(ViewMask):
    """Patches at random, see :func:`densecl.datasets.transforms.masks.random_mask`.

    Attributes:
        patch: side of a patch in pixels; 16 in MAE, 32 in SparK and FCMAE.
        ratio: masked share; 0.75 in MAE, 0.6 in SparK and FCMAE.
        rounding: rounding of the number of kept patches: ``int`` (MAE, FCMAE) or ``round`` (SparK).
    """

    ratio: float = 0.75
    rounding: str = 'int'

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_share('ratio')
        self._require(self.rounding in ('int', 'round'), 'rounding', "'int' or 'round'")

    def draw(self, grid: Grid, rng: np.random.Generator) -> np.ndarray:
        """One mask, (h, w) bool, True = masked."""
        return masks.random_mask(grid, self.ratio, rng, self.rounding)


@TRANSFORMS.register_module()
@dataclass
class CentreMask(ViewMask):
    """A square in the middle, the same in every view (context encoders, Pathak et al., CVPR 2016).

    Attributes:
        patch: side of a patch in pixels.
        side: side of the square in pixels, a multiple of ``patch``.
    """

    side: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        whole = isinstance(self.side, int) and self.side > 0 and self.side % self.patch == 0
        self._require(whole, 'side', f'a multiple of patch={self.patch}')

    def grid(self, size: tuple[int, int]) -> Grid:
        """See :class:`ViewMask`; the square must be smaller than the view."""
        self._require(self.side < min(size), 'side', f'below the sides of the view, {size[0]} x {size[1]}')
        return super().grid(size)

    def draw(self, grid: Grid, rng: np.random.Generator) -> np.ndarray:
        """One mask, (h, w) bool, True = masked."""
        side, mask = self.side // self.patch, np.zeros(grid, bool)
        top, left = ((length - side) // 2 for length in grid)
        mask[top : top + side, left : left + side] = True
        return mask


@TRANSFORMS.register_module()
@dataclass
class CellMask(ViewMask):
    """Cells of several patches at random (SimMIM), see :func:`densecl.datasets.transforms.masks.cell_mask`.

    Attributes:
        patch: side of a patch in pixels; 16 with a ViT, 4 with Swin.
        cell: side of a cell in pixels, a multiple of ``patch``.
        ratio: masked share; the number of cells is rounded up.
    """

    cell: int = 32
    ratio: float = 0.6

    def __post_init__(self) -> None:
        super().__post_init__()
        whole = isinstance(self.cell, int) and self.cell > 0 and self.cell % self.patch == 0
        self._require(whole, 'cell', f'a multiple of patch={self.patch}')
        self._require_share('ratio')

    def grid(self, size: tuple[int, int]) -> Grid:
        """See :class:`ViewMask`; cells must fill the view as well."""
        self._check_size(size, 'cell')
        return super().grid(size)

    def draw(self, grid: Grid, rng: np.random.Generator) -> np.ndarray:
        """One mask, (h, w) bool, True = masked."""
        return masks.cell_mask(grid, self.cell // self.patch, self.ratio, rng)


@dataclass
class CountedMask(ViewMask):
    """A mask whose number of patches is drawn separately from their places.

    Attributes:
        patch: side of a patch in pixels.
        ratio: masked share; or config of an object that draws it: ``dict(type='RatioChoice')`` for each view
            separately, ``dict(type='BatchRatios')`` for all views of a batch with equal mask settings.
        count: number of patches to mask, instead of ``ratio``.
    """

    ratio: float | RatioChoice | BatchRatios | None = None
    count: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require((self.ratio is None) != (self.count is None), 'count', 'given, or ratio, not both')
        if isinstance(self.ratio, dict):
            self.ratio = TRANSFORMS.build(self.ratio)
        laws = (int, float, RatioChoice, BatchRatios, type(None))
        self._require(isinstance(self.ratio, laws), 'ratio', 'a share, RatioChoice or BatchRatios')
        if isinstance(self.ratio, (int, float)):
            self._require_share('ratio')

    def grid(self, size: tuple[int, int]) -> Grid:
        """See :class:`ViewMask`; ``count`` must not exceed the grid."""
        grid = super().grid(size)
        fits = self.count is None or 0 <= self.count <= grid[0] * grid[1]
        self._require(fits, 'count', f'in 0..{grid[0] * grid[1]} patches of a view {size[0]} x {size[1]}')
        return grid

    def draw(self, grid: Grid, rng: np.random.Generator) -> np.ndarray | BatchMask:
        """One mask, (h, w) bool, True = masked; or a mask that is drawn when the batch is collated."""
        if isinstance(self.ratio, BatchRatios):
            return BatchMask(self, grid, int(rng.integers(2**63)))
        if self.count is not None:
            return self.draw_count(grid, self.count, rng)
        ratio = self.ratio.draw(rng) if isinstance(self.ratio, RatioChoice) else self.ratio
        return self.draw_count(grid, ratio * grid[0] * grid[1], rng)

    def draw_batch(self, grid: Grid, views: int, rng: np.random.Generator) -> np.ndarray:
        """The masks of a batch, (views, h, w) bool."""
        counts = self.ratio.counts(grid[0] * grid[1], views, rng)
        return np.stack([self.draw_count(grid, int(count), rng) for count in counts])

    def draw_count(self, grid: Grid, count: float, rng: np.random.Generator) -> np.ndarray:
        """One mask of about ``count`` patches, (h, w) bool."""
        raise NotImplementedError


@TRANSFORMS.register_module()
@dataclass
class BlockMask(CountedMask):
    """Rectangles (BEiT, iBOT, DINOv2), see :func:`densecl.datasets.transforms.masks.block_mask`.

    Attributes:
        patch, ratio, count: see :class:`CountedMask`. BEiT's ``count`` is 75 at 224 px.
        min_area: smallest block drawn, in patches; None: ``(min(h, w) // 3) ** 2`` as in iBOT, which is
            BEiT's 16 for 14 x 14 patches. 4 in DINOv2.
        max_area: largest block drawn, in patches; None: the number of patches to mask. DINOv2: 98 of the
            14 x 14 patches of 16 px at 224 px, 128 of 16 x 16.
        aspect: lower and upper height / width.
        exact: add single patches up to the exact count (BEiT v2, DINOv3); else ``count`` is an upper limit.
    """

    min_area: float | None = None
    max_area: float | None = None
    aspect: tuple[float, float] = (0.3, 1 / 0.3)
    exact: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ('min_area', 'max_area'):
            area = getattr(self, name)
            self._require(area is None or area > 0, name, 'above 0 patches, or None')
        self._require_range('aspect')

    def draw_count(self, grid: Grid, count: float, rng: np.random.Generator) -> np.ndarray:
        """One mask of at most, or exactly, ``count`` patches, (h, w) bool."""
        least = self.min_area or max((min(grid) // 3) ** 2, 1)
        return masks.block_mask(grid, count, rng, least, self.max_area, self.aspect, self.exact)


@TRANSFORMS.register_module()
@dataclass
class InverseBlockMask(CountedMask):
    """Everything except a rectangle (CAPI, Franca), see
    :func:`densecl.datasets.transforms.masks.inverse_block_mask`.

    Attributes:
        patch, ratio, count: see :class:`CountedMask`. CAPI's ``ratio`` is 0.65.
        aspect: lower and upper height / width of the rectangle; (0.3, 1 / 0.3) in Franca.
        roll: shift the mask cyclically.
        asked: share of the masked patches that a predictor has to predict (CAPI: 0.05); None: all. See
            :func:`densecl.datasets.transforms.masks.some_of`. All masks must have the same count.
    """

    aspect: tuple[float, float] = (0.5, 2.0)
    roll: bool = True
    asked: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_range('aspect')
        if self.asked is not None:
            self._require(0 < self.asked <= 1, 'asked', 'a share in (0, 1], or None')
            drawn = isinstance(self.ratio, RatioChoice | BatchRatios)
            self._require(not drawn, 'ratio', 'a number with asked, so that all views are asked as often')

    def draw_asked(self, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
        """See :class:`ViewMask`."""
        return None if self.asked is None else masks.some_of(mask, self.asked, rng)

    def draw_count(self, grid: Grid, count: float, rng: np.random.Generator) -> np.ndarray:
        """One mask of exactly ``int(count)`` patches, (h, w) bool."""
        return masks.inverse_block_mask(grid, int(count), rng, self.aspect, self.roll)


@TRANSFORMS.register_module()
@dataclass
class RegionCutMask(CountedMask):
    """A part of every region (de-coupled augmentation, Qiu et al., 2024), see
    :func:`densecl.datasets.transforms.masks.region_cut_mask`.

    Attributes:
        patch, ratio, count: see :class:`CountedMask`; the share is that of each region.
        inverted: probability that the mask is inverted.
    """

    inverted: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_share('inverted')

    def draw_count(self, grid: Grid, count: float, rng: np.random.Generator) -> np.ndarray:
        """One mask, (h, w) bool."""
        mask = masks.region_cut_mask(grid, count / (grid[0] * grid[1]), rng)
        return ~mask if self.inverted and rng.random() < self.inverted else mask


@TRANSFORMS.register_module()
@dataclass
class Data2VecMask(ViewMask):
    """Everything except several squares (data2vec 2.0), see
    :func:`densecl.datasets.transforms.masks.data2vec_mask`.

    Attributes:
        patch: side of a patch in pixels.
        ratio: masked share.
        length: side of a square in patches.
        adjust: added to the kept share for the number of squares.
    """

    ratio: float = 0.8
    length: int = 3
    adjust: float = 0.07

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_share('ratio')
        self._require(self.length >= 1, 'length', 'at least 1')

    def draw(self, grid: Grid, rng: np.random.Generator) -> np.ndarray:
        """One mask, (h, w) bool, True = masked."""
        return masks.data2vec_mask(grid, self.ratio, rng, self.length, self.adjust)


@TRANSFORMS.register_module()
@dataclass
class GMMLMask(ViewMask):
    """Rectangles up to a share (SiT), see :func:`densecl.datasets.transforms.masks.gmml_mask`.

    Attributes:
        patch: side of a patch in pixels; with the default of 1 the mask has a value for each pixel.
        ratio: masked share to reach; 0.5 for zeros and noise, 0.3 for parts of another image.
        max_side: longest side of a rectangle, as a share of the view's.
    """

    patch: int = 1
    ratio: float = 0.5
    max_side: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_share('ratio')
        self._require(0 < self.max_side <= 1, 'max_side', 'a share above 0')

    def grid(self, size: tuple[int, int]) -> Grid:
        """See :class:`ViewMask`; ``max_side`` of the view must be longer than a patch."""
        self._require(int(min(size) * self.max_side) > self.patch, 'max_side', f'more than {self.patch} px')
        return super().grid(size)

    def draw(self, grid: Grid, rng: np.random.Generator) -> np.ndarray:
        """One mask, (h, w) bool, True = masked."""
        return masks.gmml_mask(grid, self.ratio, rng, self.patch, self.max_side)
