"""Regions of the image as units: boxes (objects, or random boxes in the views' overlap) and masks."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from densecl.registry import MODELS

from .base import UnitProducer, place_of, record_of
from .pooling import pool_boxes, pool_masks
from .regions import masks_of, regions_of


def assign_levels(boxes: Tensor, thresholds: Sequence[float] = (48, 96, 192, 224)) -> Tensor:
    """The pyramid level of each box by its size: the first level whose threshold is at least ``sqrt(w h)``.

    SoCo (Wei et al., 2021, section 3.2). Deviations from the official code: a box larger than the last
    threshold belongs to the last level; there it belongs to no level and drops out of the loss. Sides are
    those of the box; there corners are rounded down to whole pixels and w = x2 - x1 + 1. So a box within a
    pixel of a threshold may lie on the neighbouring level.

    Args:
        boxes: (..., 4), x1, y1, x2, y2 in pixels of the view.
        thresholds: one a level, rising, in pixels of the view.

    Returns:
        int64 (...), 0 for the finest level.
    """
    sides = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
    area = sides[..., 0] * sides[..., 1]
    level = torch.zeros_like(area, dtype=torch.int64)
    for threshold in thresholds[:-1]:  # compare areas: a square root is not exact
        level += area > threshold**2
    return level


@MODELS.register_module()
class Boxes(UnitProducer):
    """Boxes that ``MultiView`` chose: the objects of SoCo (``SelectBoxes``), SCRL's ``OverlapBoxes``.

    With several ``levels`` a box is pooled from the pyramid level of its size (SoCo, Wei et al., 2021). An
    object that is small in one view and large in the other is read from two levels: so the levels learn to
    agree. Shapes do not depend on the data: every level pools N boxes an image. On a level that is not its
    own, a box is replaced by an empty one, which costs nothing and gives 0. The results are summed over the
    levels.

    Args:
        regions: name of the boxes in ``MultiView(regions=...)``.
        level: which level of the backbone (or neck) is read.
        levels: several levels, fine to coarse, in place of ``level``.
        thresholds: see :func:`assign_levels`; one a level, in pixels of the view.
        bins: side of a pooled box in bins. The projector maps (N, C, bins, bins) to (N, D); with ``bins=1``
            it maps (N, C).
        aligned: see :func:`~densecl.models.heads.units.pooling.pool_boxes`; SCRL's official code has False.
        every_level: as in the official code of SoCo, pool every box from every level, with one pass of the
            projector a level. Only the assigned level of a box enters the loss. The others only change batch
            statistics, and the cost is ``len(levels)`` times as high.
    """

    gives = frozenset({'boxes', 'ids', 'place', 'features', 'pooled', 'several'})

    def __init__(
        self,
        regions: str = 'objects',
        level: int = -1,
        levels: Sequence[int] | None = None,
        thresholds: Sequence[float] = (48, 96, 192, 224),
        bins: int = 7,
        aligned: bool = True,
        every_level: bool = False,
    ) -> None:
        super().__init__(level)
        several = levels is not None
        if several and (len(levels) != len(thresholds) or list(thresholds) != sorted(thresholds)):
            raise ValueError(
                'Boxes: thresholds must rise and be one a level, got '
                f'{tuple(thresholds)} for levels {tuple(levels)}'
            )
        self.regions, self.bins, self.aligned = regions, bins, aligned
        self.levels = tuple(levels) if several else (level,)
        self.thresholds = tuple(thresholds) if several else (float('inf'),)
        self.every_level = every_level

    def inputs(self, branch, views, source):
        """(B*N, C, bins, bins) from the assigned levels, or (B*N, L, C, bins, bins) from each of L levels."""
        boxes = regions_of(views, self.regions, source, 'SelectBoxes').boxes
        return self.pooled(branch[source], boxes, tuple(views.images[source].shape[-2:]))

    def pooled(self, levels: Sequence[Tensor], boxes: Tensor, size: tuple[int, int]) -> Tensor:
        """As :meth:`inputs`, for boxes (B, N, 4) in a view of height and width ``size``."""
        shown = [boxes] * len(self.levels)
        if len(shown) > 1 and not self.every_level:
            assigned = assign_levels(boxes, self.thresholds)[..., None]
            shown = [torch.where(assigned == i, boxes, 0.0) for i in range(len(shown))]
        maps = [levels[number] for number in self.levels]
        parts = [pool_boxes(x, b, size, self.bins, self.aligned) for x, b in zip(maps, shown, strict=True)]
        parts = [x.flatten(1) for x in parts] if self.bins == 1 else parts
        return torch.stack(parts, 1) if self.every_level else sum(parts[1:], parts[0])

    def _by_level(self, module: nn.Module) -> Callable[[Tensor], Tensor]:
        """The module; with ``every_level`` it runs once for each level."""
        if not self.every_level:
            return module
        return lambda x: torch.stack([module(part) for part in x.unbind(1)], 1)

    def project(self, projector, inputs, joint):
        return super().project(self._by_level(projector), inputs, joint)

    def predict(self, predictor, projections):
        return self._by_level(predictor)(projections)

    def record(self, chosen, inputs, projections, predictions, views):
        """One unit a box; a box with id -1 is not valid."""
        found = regions_of(views, self.regions, chosen, 'SelectBoxes')
        level = assign_levels(found.boxes, self.thresholds)
        features = inputs.detach() if self.bins == 1 else inputs.detach().mean((-2, -1))

        def rows(x: Tensor) -> Tensor:
            x = x.unflatten(0, level.shape)
            if not self.every_level:
                return x
            return x.gather(2, level[..., None, None].expand(-1, -1, 1, x.shape[-1])).squeeze(2)

        return record_of(
            projections,
            predictions,
            rows,
            valid=found.ids >= 0,
            ids=found.ids,
            place=place_of(views, chosen, boxes=found.boxes),
            features=rows(features),
        )


@MODELS.register_module()
class Masks(UnitProducer):
    """Masks: the features of a mask are the mean over the level's cells in it (DetCon, Hénaff et al., 2021).

    ``MultiView(regions=dict(masks=dict(type='SelectMasks', ...)))`` draws the masks. Projector and predictor
    map (N, C) to (N, D). A mask without a cell in the view, or with the id -1, does not count.

    Args:
        regions: name of the masks in ``MultiView(regions=...)``.
        level: which level of the backbone (or neck) is read.
    """

    gives = frozenset({'ids', 'place', 'boxes', 'features', 'pooled', 'several'})

    def __init__(self, regions: str = 'masks', level: int = -1) -> None:
        super().__init__(level)
        self.regions = regions

    def inputs(self, branch, views, source):
        """(B*N, C)."""
        level = branch[source][self.level]
        found = regions_of(views, self.regions, source, 'SelectMasks')
        masks = masks_of(found, self.regions, source, tuple(level.shape[2:]), 'SelectMasks')
        return pool_masks(level, masks).flatten(0, 1)

    def record(self, chosen, inputs, projections, predictions, views):
        found = regions_of(views, self.regions, chosen, 'SelectMasks')
        shape = found.ids.shape
        return record_of(
            projections,
            predictions,
            lambda x: x.unflatten(0, shape),
            valid=(found.ids >= 0) & found.masks.flatten(2).any(2),
            ids=found.ids,
            place=place_of(views, chosen, boxes=found.boxes),
            features=inputs.detach().unflatten(0, shape),
        )
