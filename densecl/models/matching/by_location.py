"""The positives of a cell are the cells of the other view that lie nearby in the original image."""

import torch
from torch import Tensor

from densecl.registry import MODELS
from densecl.structures import Match, Place, cell_centers

from .rule import Rule


@torch.no_grad()
def match_by_location(
    boxes_q: Tensor,
    flipped_q: Tensor,
    grid_q: tuple[int, int],
    boxes_k: Tensor,
    flipped_k: Tensor,
    grid_k: tuple[int, int],
    threshold: float,
) -> Tensor:
    """Pairs of cells whose centres are close in the original image (PixPro, Xie et al., 2021, eq. 1).

    The distance of two centres, over the diagonal of the larger of both cells, must be below the threshold.
    With identical views and square cells the next cell is at 0.707: PixPro's 0.7 leaves only the cell itself.

    Args:
        boxes_q: (B, 4), the query crops x1, y1, x2, y2 in any frame that both share; PixPro's is the
            original image scaled to 1 x 1.
        flipped_q: (B,) bool, whether the query view was mirrored.
        grid_q: height and width of the query's map in cells.
        boxes_k: (B, 4), likewise of the key.
        flipped_k: (B,) bool.
        grid_k: height and width of the key's map.
        threshold: on the distance in cell diagonals; the comparison is strict.

    Returns:
        bool (B, Hq*Wq, Hk*Wk), cells in row-major order.
    """
    x_q, y_q = _lines(boxes_q, flipped_q, grid_q)
    x_k, y_k = _lines(boxes_k, flipped_k, grid_k)
    across = x_q[:, :, None] - x_k[:, None]  # (B, Wq, Wk)
    down = y_q[:, :, None] - y_k[:, None]  # (B, Hq, Hk)
    distance = torch.hypot(across[:, None, :, None], down[:, :, None, :, None])  # (B, Hq, Wq, Hk, Wk)
    diagonal = torch.maximum(_diagonal(boxes_q, grid_q), _diagonal(boxes_k, grid_k))
    near = distance < threshold * diagonal.view(-1, 1, 1, 1, 1)
    return near.flatten(3).flatten(1, 2)


def _lines(boxes: Tensor, flipped: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """x of each column's centres (B, W) and y of each row's (B, H)."""
    centers = cell_centers(boxes, flipped, grid).unflatten(1, grid)  # (B, H, W, 2)
    return centers[:, 0, :, 0], centers[:, :, 0, 1]


def _diagonal(boxes: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B,) diagonal of a cell."""
    width = (boxes[:, 2] - boxes[:, 0]) / grid[1]
    height = (boxes[:, 3] - boxes[:, 1]) / grid[0]
    return torch.hypot(width, height)


@MODELS.register_module()
class ByLocation(Rule):
    """Match by distance in the original image scaled to 1 x 1; any number of answers, or none.

    Args:
        threshold: see :func:`match_by_location`; 0.7 in PixPro.
    """

    needs = frozenset({'grid'})

    def __init__(self, threshold: float = 0.7) -> None:
        super().__init__()
        if threshold <= 0:
            raise ValueError(f'ByLocation: threshold must be positive, got {threshold}')
        self.threshold = threshold

    @torch.no_grad()
    def forward(self, query, key, batch):
        """See :class:`Rule`."""
        return Match(mask=near_cells(query.place, key.place, self.threshold))


def near_cells(query: Place, key: Place, threshold: float) -> Tensor:
    """:func:`match_by_location` of two views, in the image scaled to 1 x 1."""
    return match_by_location(
        query.shares(), query.flipped, query.grid, key.shares(), key.flipped, key.grid, threshold
    )
