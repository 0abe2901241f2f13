"""Windows that slide over a view as units."""

import torch
import torch.nn.functional as F
from torch import Tensor

from densecl.numerics import full_precision
from densecl.registry import MODELS

from .base import UnitProducer, cells, place_of, pool, record_of
from .pooling import pool_boxes_exactly
from .regions import regions_of


@MODELS.register_module()
class Windows(UnitProducer):
    """Sliding windows: the vector of a window is the mean of the projected map over it (ReSim, Xiao et al.,
    2021).

    Every neighbourhood of cells of the map, averaged, is a further candidate of the objective
    ``dict(type='InfoNCE', batch='others')``.

    Args:
        regions: name of the windows in ``MultiView(regions=...)``, a ``SlidingWindows``.
        level: which level of the backbone (or neck) is read.
        places: side of these neighbourhoods in cells; a smaller map is averaged as a whole.
    """

    gives = frozenset({'boxes', 'ids', 'place', 'others', 'pooled', 'several'})

    def __init__(self, regions: str = 'windows', level: int = -1, places: int = 3) -> None:
        super().__init__(level)
        if places < 1:
            raise ValueError(f'Windows: places must be at least 1, got {places}')
        self.regions, self.places = regions, places

    def record(self, chosen, inputs, projections, predictions, views):
        found = regions_of(views, self.regions, chosen, 'SlidingWindows')
        place = place_of(views, chosen, boxes=found.boxes)
        maps = full_precision(projections)
        grid = tuple(maps.shape[2:])
        pooling = tuple(min(self.places, side) for side in grid)
        return record_of(
            maps,
            predictions,
            lambda x: pool_boxes_exactly(x, found.boxes, place.size),
            pool,
            valid=found.ids >= 0,  # a window that is only partly inside the view has the id -1
            ids=found.ids,
            place=place,
            others=cells(F.avg_pool2d(maps, pooling, stride=1)),
            others_boxes=pooled_boxes(grid, pooling, place.size, maps.device),
        )


def pooled_boxes(
    grid: tuple[int, int], pool: tuple[int, int], size: tuple[int, int], device: torch.device | None = None
) -> Tensor:
    """The box in the view that each position of a map covers, after average pooling with stride 1.

    ``grid`` is height and width of the map before pooling, ``pool`` those of a neighbourhood, both in cells.
    ``size`` is height and width of the view in pixels. Returns float64 (P, 4), x1, y1, x2, y2 in pixels of
    the view, row by row.
    """
    y, x = (
        torch.arange(n - p + 1, dtype=torch.float64, device=device) for n, p in zip(grid, pool, strict=True)
    )
    x, y = (corner.flatten() for corner in torch.meshgrid(x, y, indexing='xy'))
    across, down = size[1] / grid[1], size[0] / grid[0]
    return torch.stack([x * across, y * down, (x + pool[1]) * across, (y + pool[0]) * down], 1)
