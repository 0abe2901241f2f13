"""The whole image as the unit."""

from densecl.registry import MODELS
from densecl.structures import Units

from .base import UnitProducer, pool


@MODELS.register_module()
class Image(UnitProducer):
    """One unit an image: SimCLR, MoCo v1 to v3, BYOL, SimSiam, Barlow Twins, VICReg, SupCon and more.

    Args:
        level: of the backbone (or neck).
        project: ``'pooled'``: pool the level, then project (B, C) -> (B, D); ``'cells'``: project (and
            predict) each cell, (B, C, H, W) -> (B, D, H, W), and average afterwards (PixPro's instance
            branch), another vector where a projector is nonlinear.
        detach: no gradient reaches the backbone (a probe).
    """

    gives = frozenset({'features', 'pooled', 'always'})

    def __init__(self, level: int = -1, project: str = 'pooled', detach: bool = False) -> None:
        super().__init__(level)
        if project not in ('pooled', 'cells'):
            raise ValueError(f"Image: project must be 'pooled' or 'cells', got {project!r}")
        self.by_cell = project == 'cells'
        self.detached = detach

    def inputs(self, branch, views, source):
        """The pooled level, or the level."""
        level = branch[source][self.level]
        level = level if self.by_cell else pool(level)
        return level.detach() if self.detached else level

    def record(self, chosen, inputs, projections, predictions, views):
        """One row an image."""
        features = inputs.detach()
        if self.by_cell:
            features, projections = pool(features), pool(projections)
            predictions = None if predictions is None else pool(predictions)
        return Units(
            projections[:, None],
            None if predictions is None else predictions[:, None],
            pooled=projections,
            pooled_predicted=predictions,
            features=features[:, None],
        )
