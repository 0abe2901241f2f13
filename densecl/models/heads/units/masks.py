"""Masks of objects as the units."""

from torch import Tensor

from densecl.registry import MODELS
from densecl.structures import Units, Views

from .base import UnitProducer, place_of
from .boxes import regions_of
from .pooling import pool_masks


@MODELS.register_module()
class Masks(UnitProducer):
    """The features of a mask are the mean of the level's cells that it has (DetCon, Hénaff et al., 2021).

    ``MultiView(regions=dict(masks=dict(type='SelectMasks', ...)))`` draws the masks. Projector and predictor
    map (N, C) to (N, D).

    Args:
        regions: their name in ``MultiView(regions=...)``.
        level: of the backbone (or neck).
    """

    gives = frozenset({'ids', 'place', 'boxes', 'features', 'pooled', 'several', 'always'})

    def __init__(self, regions: str = 'masks', level: int = -1) -> None:
        super().__init__(level)
        self.regions = regions

    def inputs(self, branch, views, source):
        """(B*N, C)."""
        level = branch[source][self.level]
        return pool_masks(level, self._masks(views, source, tuple(level.shape[2:]))).flatten(0, 1)

    def record(self, chosen, inputs, projections, predictions, views):
        """A row a mask."""
        found = regions_of(views, self.regions, chosen, 'SelectMasks')
        shape = found.ids.shape
        vectors = projections.unflatten(0, shape)
        predicted = None if predictions is None else predictions.unflatten(0, shape)
        return Units(
            vectors,
            predicted,
            pooled=vectors.mean(1),
            pooled_predicted=None if predicted is None else predicted.mean(1),
            ids=found.ids,
            place=place_of(views, chosen, boxes=found.boxes),
            features=inputs.detach().unflatten(0, shape),
        )

    def _masks(self, views: Views, view: int, grid: tuple[int, int]) -> Tensor:
        """(B, N, h, w) masks of a view, once they are known to fit the level's grid."""
        masks = regions_of(views, self.regions, view, 'SelectMasks').masks
        if masks is None:
            raise ValueError(
                f"Masks: the regions {self.regions!r} are boxes alone; take dict(type='SelectMasks', ...) in "
                "MultiView, and a provider of masks, such as proposals=dict(type='Felzenszwalb')"
            )
        if tuple(masks.shape[2:]) != grid:
            (height, width), (h, w) = masks.shape[2:], grid
            raise ValueError(
                f'Masks: the masks of view {view} have {height} x {width} cells, but the level has {h} x {w}'
                f'; set SelectMasks(grid={h if h == w else (h, w)})'
            )
        return masks
