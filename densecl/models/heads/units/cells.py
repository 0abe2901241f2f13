"""The cells of a feature map (tokens of a transformer) as the units."""

import torch.nn.functional as F

from densecl.registry import MODELS

from .base import UnitProducer, cells, place_of, pool, record_of


@MODELS.register_module()
class Cells(UnitProducer):
    """Every cell of a level, row by row; projector and predictor map (B, C, H, W) to (B, D, H, W).

    What stands for the image is the mean of the projections (DenseCL, Wang et al., 2021, section 3.2).

    Args:
        level: of the backbone (or neck).
        grid: side of the square grid to which the level is average-pooled before anything else; None
            keeps the level's own grid, as the released configs of DenseCL do.
    """

    gives = frozenset({'grid', 'place', 'features', 'pooled', 'several', 'always'})

    def __init__(self, level: int = -1, grid: int | None = None) -> None:
        super().__init__(level)
        self.grid = grid

    def inputs(self, branch, views, source):
        level = branch[source][self.level]
        return level if self.grid is None else F.adaptive_avg_pool2d(level, self.grid)

    def record(self, chosen, inputs, projections, predictions, views):
        place = place_of(views, chosen, grid=tuple(projections.shape[2:]))
        return record_of(projections, predictions, cells, pool, place=place, features=cells(inputs.detach()))
