"""The positives of a cell are the cells of the other view that lie nearby in the original image."""

import torch
from torch import Tensor

from densecl.registry import MODELS
from densecl.structures import Match, cell_centers, cell_diagonals
from densecl.structures.geometry import constants

from .rule import Rule, among_shown, among_valid


@torch.no_grad()
def match_by_location(
    boxes_q: Tensor,
    flipped_q: Tensor,
    grid_q: tuple[int, int],
    boxes_k: Tensor,
    flipped_k: Tensor,
    grid_k: tuple[int, int],
    threshold: float,
    warp_q: Tensor | None = None,
    warp_k: Tensor | None = None,
) -> Tensor:
    """Pairs of cells whose centres are close in the original image (PixPro, Xie et al., 2021, eq. 1).

    The distance of the two centres, divided by the diagonal of the larger cell, must be below the threshold.
    For identical views with square cells, the next cell has the distance 0.707: with PixPro's 0.7 only the
    cell itself matches.

    Args:
        boxes_q, boxes_k: (B, 4), the crops of query and key, x1, y1, x2, y2 in any coordinates that both
            share; PixPro's are those of the original image scaled to 1 x 1.
        flipped_q, flipped_k: (B,) bool, whether the view was mirrored.
        grid_q, grid_k: height and width of the map in cells.
        threshold: of the distance in cell diagonals; the distance must be smaller.
        warp_q, warp_k: (B, 3, 3) homographies of warped views, or None. Then each cell has its own diagonal,
            the root mean square of its two diagonals.

    Returns:
        bool (B, Hq*Wq, Hk*Wk), cells in row-major order.
    """
    if warp_q is not None or warp_k is not None:
        views = (boxes_q, flipped_q, grid_q, warp_q), (boxes_k, flipped_k, grid_k, warp_k)
        query, key = (cell_centers(*view)[:, :, None] for view in views)
        distance = torch.hypot(*(query - key.transpose(1, 2)).unbind(-1))
        diagonals = [cell_diagonals(*view) for view in views]
        return distance < threshold * torch.maximum(diagonals[0][:, :, None], diagonals[1][:, None])
    centers_q = cell_centers(boxes_q, flipped_q, grid_q).unflatten(1, grid_q)  # (B, Hq, Wq, 2)
    centers_k = cell_centers(boxes_k, flipped_k, grid_k).unflatten(1, grid_k)
    across = centers_q[:, 0, :, None, 0] - centers_k[:, :1, :, 0]  # (B, Wq, Wk): a column has one x
    down = centers_q[:, :, :1, 1] - centers_k[:, None, :, 0, 1]  # (B, Hq, Hk): a row has one y
    distance = torch.hypot(across[:, None, :, None], down[:, :, None, :, None])  # (B, Hq, Wq, Hk, Wk)
    sides = ((b[:, 2:] - b[:, :2]) / constants(g[::-1], b) for b, g in ((boxes_q, grid_q), (boxes_k, grid_k)))
    diagonal = torch.maximum(*(torch.hypot(*side.unbind(1)) for side in sides))
    near = distance < threshold * diagonal.view(-1, 1, 1, 1, 1)
    return near.flatten(3).flatten(1, 2)


@MODELS.register_module()
class ByLocation(Rule):
    """Match by distance in the original image scaled to 1 x 1; any number of answers, or none.

    Args:
        threshold: see :func:`match_by_location`; 0.7 in PixPro.
    """

    needs = frozenset({'grid', 'place'})

    def __init__(self, threshold: float = 0.7) -> None:
        super().__init__()
        if threshold <= 0:
            raise ValueError(f'ByLocation: threshold must be positive, got {threshold}')
        self.threshold = threshold

    def forward(self, query, key, batch):
        views = [(place.shares(), place.flipped, place.grid) for place in (query.place, key.place)]
        warps = query.place.warp, key.place.warp
        mask = match_by_location(*views[0], *views[1], self.threshold, *warps)
        return Match(mask=among_valid(among_shown(mask, query.place, key.place), query, key))
