"""The cells of a feature map as the units."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from densecl.models.losses import Samples
from densecl.models.matching import ViewMaps
from densecl.registry import MODELS

from .base import PretrainHead, project
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

    def units(self, branch, projector, views, wanted):
        """View -> :class:`ViewMaps`; see :meth:`PretrainHead.units`."""
        levels = {v: branch[v][self.level] for v in wanted}
        if self.grid is not None:
            levels = {v: F.adaptive_avg_pool2d(x, self.grid) for v, x in levels.items()}
        projections = project(projector, levels, branch.joint)
        frame = views.source_sizes.flip(1)
        return {
            v: ViewMaps(levels[v], projections[v], views.boxes[v], views.flipped[v], frame)
            for v in wanted
        }

    def pair_loss(self, query, key, views):
        """The objective over matched cells; see :meth:`PretrainHead.pair_loss`."""
        with torch.no_grad():
            match = self.matching(query, key)  # (B, Nq), index into the key's cells
        self.embeddings = cells(query.projections).detach().flatten(0, 1)
        query = replace(query, projections=self.predict(query.projections))
        key_maps = self.key_of(key.projections)
        key_cells = cells(key_maps)  # (B, Nk, D)
        positive = key_cells.gather(1, match[..., None].expand(-1, -1, key_cells.shape[-1]))
        query_cells = cells(query.projections)  # (B, Nq, D)
        batch, count = match.shape
        samples = Samples(
            indices=views.indices,
            labels=views.labels,
            rows=torch.arange(batch, device=match.device).repeat_interleave(count),
            queries=pool(query.projections),
        )
        loss, diagnostics = self.objective(
            query_cells.flatten(0, 1), positive.flatten(0, 1), pool(key_maps), samples
        )
        return {'loss': loss, **diagnostics}
