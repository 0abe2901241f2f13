"""The cells of a feature map (tokens of a transformer) as units."""

import torch.nn.functional as F
from torch import Tensor

from densecl.messages import check_choice
from densecl.numerics import full_precision
from densecl.registry import MODELS

from .base import UnitProducer, cells, place_of, pool, record_of
from .regions import masks_of, regions_of


@MODELS.register_module()
class Cells(UnitProducer):
    """Every cell of a level, row by row; projector and predictor map (B, C, H, W) to (B, D, H, W).

    The pooled vector of an image is the mean of its projections (DenseCL, Wang et al., 2021, section 3.2).

    Args:
        level: which level of the backbone (or neck) is read.
        grid: side of a square grid. The level is resized to it before projection. None keeps the level's own
            grid, as the released configs of DenseCL do.
        resize: how the level is resized. ``'average'``: average pooling. ``'bicubic'``: interpolation at the
            centres of the grid's cells without antialiasing (the target of Gram anchoring in DINOv3, Siméoni
            et al., 2025, whose map has twice the side). A level that has this grid already is not changed.
    """

    gives = frozenset({'grid', 'place', 'features', 'pooled', 'several', 'always'})

    def __init__(self, level: int = -1, grid: int | None = None, resize: str = 'average') -> None:
        super().__init__(level)
        check_choice('Cells: resize', resize, ('average', 'bicubic'))
        self.grid, self.resize = grid, resize

    def inputs(self, branch, views, source):
        level = branch[source][self.level]
        if self.grid is None or level.shape[2:] == (self.grid, self.grid):
            return level
        return (
            bicubic(level, self.grid) if self.resize == 'bicubic' else F.adaptive_avg_pool2d(level, self.grid)
        )

    def record(self, chosen, inputs, projections, predictions, views):
        place = place_of(views, chosen, grid=tuple(projections.shape[2:]))
        return record_of(projections, predictions, cells, pool, place=place, features=cells(inputs.detach()))


@MODELS.register_module()
class LabelledCells(Cells):
    """Cells with labels: the share of each cell that every segment covers.

    Segments are any masks, such as those of Felzenszwalb.
    ``MultiView(regions=dict(segments=dict(type='LargestMasks', grid=...)))`` makes them, on the level's grid.

    Args:
        regions: name of the segments in ``MultiView(regions=...)``.
        **kwargs: see :class:`Cells`.
    """

    gives = Cells.gives | {'labels'}

    def __init__(self, regions: str = 'segments', **kwargs) -> None:
        super().__init__(**kwargs)
        self.regions = regions

    def record(self, chosen, inputs, projections, predictions, views):
        found = regions_of(views, self.regions, chosen, 'LargestMasks')
        masks = masks_of(found, self.regions, chosen, tuple(projections.shape[2:]), 'LargestMasks')
        units = super().record(chosen, inputs, projections, predictions, views)
        units.labels, units.label_ids = masks.flatten(2).transpose(1, 2), found.ids
        return units


def bicubic(level: Tensor, grid: int) -> Tensor:
    """Bicubic interpolation, (B, C, H, W) -> (B, C, grid, grid), each from 4 x 4 cells, no antialiasing."""
    read = F.interpolate(full_precision(level), (grid, grid), mode='bicubic', align_corners=False)
    return read.to(level.dtype)
