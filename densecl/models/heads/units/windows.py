"""Windows that slide over a view as the units."""

import torch.nn.functional as F

from densecl.models.matching import pooled_boxes
from densecl.numerics import full_precision
from densecl.registry import MODELS
from densecl.structures import Units

from .base import UnitProducer, cells, place_of, pool
from .boxes import regions_of
from .pooling import pool_boxes_exactly


@MODELS.register_module()
class Windows(UnitProducer):
    """Each window is the mean of the projected map over it (ReSim, Xiao et al., 2021).

    The places of the map, each the average of neighbouring cells, are further candidates of an objective:
    ``dict(type='InfoNCE', batch='others')``.

    Args:
        regions: name of the windows in ``MultiView(regions=...)``, a ``SlidingWindows``.
        level: of the backbone (or neck).
        places: side, in cells, of the neighbourhoods that are further candidates; a smaller map is averaged
            whole.
    """

    gives = frozenset({'boxes', 'ids', 'place', 'others', 'pooled', 'several'})

    def __init__(self, regions: str = 'windows', level: int = -1, places: int = 3) -> None:
        super().__init__(level)
        if places < 1:
            raise ValueError(f'Windows: places must be at least 1, got {places}')
        self.regions, self.places = regions, places

    def inputs(self, branch, views, source):
        """The level."""
        return branch[source][self.level]

    def record(self, chosen, inputs, projections, predictions, views):
        """A row a window; those that the view does not wholly show are not there."""
        found = regions_of(views, self.regions, chosen, 'SlidingWindows')
        place = place_of(views, chosen, boxes=found.boxes)
        size = place.size
        maps = full_precision(projections)
        grid = tuple(maps.shape[2:])
        pooling = tuple(min(self.places, side) for side in grid)
        predicted = None if predictions is None else pool_boxes_exactly(predictions, found.boxes, size)
        return Units(
            pool_boxes_exactly(maps, found.boxes, size),
            predicted,
            pooled=pool(maps),
            pooled_predicted=None if predictions is None else pool(predictions),
            valid=found.ids >= 0,
            ids=found.ids,
            place=place,
            others=cells(F.avg_pool2d(maps, pooling, stride=1)),
            others_boxes=pooled_boxes(grid, pooling, size, maps.device),
        )
