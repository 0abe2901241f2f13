"""The cells of a feature map as the units."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from densecl.models.matching import ViewMaps
from densecl.registry import MODELS
from densecl.structures import Views

from .base import PretrainHead
from .image import pool


def cells(maps: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H*W, C), row-major."""
    return maps.permute(0, 2, 3, 1).flatten(1, 2)


@MODELS.register_module()
class DenseHead(PretrainHead):
    """Compare each cell with its match in the other view (DenseCL, Wang et al., 2021, eq. 2 and 3).

    Each query cell's positive is the projected key cell that ``matching`` names. The negatives are the
    pooled projections of other images: one vector an image, pooled first and normalised after.

    Args:
        matching: module config of the rule that finds the positive; called with two :class:`ViewMaps`.
        grid: side of the square grid to which the level is average-pooled before anything else; None
            keeps the level's own grid, as the released configs do.
        **kwargs: see :class:`PretrainHead`; the projector maps (B, C, H, W) to (B, D, H, W).
    """

    def __init__(self, *, matching: dict, grid: int | None = None, **kwargs) -> None:
        super().__init__(**kwargs)
        self.matching = MODELS.build(matching)
        self.grid = grid

    def maps(
        self, level: Tensor, projector: nn.Module, views: Views, view: int
    ) -> ViewMaps:
        """Features, projections and geometry of one view."""
        if self.grid is not None:
            level = F.adaptive_avg_pool2d(level, self.grid)
        return ViewMaps(level, projector(level), views.boxes[view], views.flipped[view])

    def pair_loss(self, online, target, views, target_projector, query, key):
        """InfoNCE over matched cells; see :meth:`PretrainHead.pair_loss`."""
        q = self.maps(online[query][self.level], self.projector, views, query)
        with torch.no_grad():
            k = self.maps(target[key][self.level], target_projector, views, key)
            match = self.matching(q, k)  # (B, Nq), index into the key's cells
            key_cells = cells(k.projections)  # (B, Nk, D)
            positive = key_cells.gather(1, match[..., None].expand(-1, -1, key_cells.shape[-1]))
        query_cells = cells(q.projections)  # (B, Nq, D)
        self.embeddings = query_cells.detach().flatten(0, 1)
        loss, diagnostics = self.objective(
            query_cells.flatten(0, 1), positive.flatten(0, 1), new_keys=pool(k.projections)
        )
        return {'loss': loss, **diagnostics}
