"""Which cell of one view was matched to which of the other, and where it truly lies."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from densecl.structures import cell_centers, image_to_view

from .canvas import WHITE, as_color, colors, resized, side_by_side


def draw_matches(
    view_q: np.ndarray,
    view_k: np.ndarray,
    index: Tensor | np.ndarray,
    grid_q: tuple[int, int],
    grid_k: tuple[int, int],
    cells: Sequence[int] | None = None,
    height: int = 288,
) -> np.ndarray:
    """Two views side by side, a line from each cell of the first to its match in the second.

    Args:
        view_q: uint8 (H, W, 3).
        view_k: uint8 (H, W, 3).
        index: (Hq*Wq,), the matched cell of the key's map for each cell of the query's, row-major.
        grid_q: height and width of the query's map in cells.
        grid_k: likewise of the key's.
        cells: the query cells to draw; all by default.
        height: of the picture.
    """
    cells = range(grid_q[0] * grid_q[1]) if cells is None else cells
    index = np.asarray(index)
    starts = np.array([_fraction(cell, grid_q) for cell in cells]).reshape(-1, 2)
    ends = np.array([_fraction(index[cell], grid_k) for cell in cells]).reshape(-1, 2)
    return _connect(view_q, view_k, starts, ends, grid_q, grid_k, height)


def draw_true_locations(
    view_q: np.ndarray,
    view_k: np.ndarray,
    boxes: Tensor,
    flipped: Tensor,
    grid: tuple[int, int],
    cells: Sequence[int] | None = None,
    height: int = 288,
) -> np.ndarray:
    """The geometric counterpart of :func:`draw_matches`: lines end where the cell really lies.

    Cells that lie outside the second crop are drawn as a ring without a line.

    Args:
        view_q: uint8 (H, W, 3).
        view_k: uint8 (H, W, 3).
        boxes: (2, 4), the crops of query and key in the original image.
        flipped: (2,) bool.
        grid: height and width of the map in cells.
        cells: the query cells to draw; all by default.
        height: of the picture.
    """
    cells = list(range(grid[0] * grid[1]) if cells is None else cells)
    starts = np.array([_fraction(cell, grid) for cell in cells]).reshape(-1, 2)
    ends = true_locations(boxes, flipped, grid)[cells].numpy()
    return _connect(view_q, view_k, starts, ends, grid, grid, height)


def true_locations(boxes: Tensor, flipped: Tensor, grid: tuple[int, int]) -> Tensor:
    """Where the centres of a query's cells lie in the key view, as shares of its width and height.

    Args:
        boxes: (2, 4), the crops of query and key in the original image.
        flipped: (2,) bool.
        grid: height and width of the query's map in cells.

    Returns:
        (H*W, 2), x and y; outside [0, 1] the cell is not in the key view.
    """
    centers = cell_centers(boxes[:1], flipped[:1], grid)
    return image_to_view(centers, boxes[1:], flipped[1:], (1, 1))[0]


def match_distance(
    index: Tensor,
    boxes: Tensor,
    flipped: Tensor,
    grid_q: tuple[int, int],
    grid_k: tuple[int, int],
) -> tuple[float, float, int]:
    """How far in the original image matched cells lie apart, and how far any two would.

    Only query cells whose centre the key view shows are counted: the others have no right match.

    Args:
        index: (Hq*Wq,), the matched key cells.
        boxes: (2, 4), the crops of query and key in the original image.
        flipped: (2,) bool.
        grid_q: height and width of the query's map in cells.
        grid_k: likewise of the key's.

    Returns:
        Mean distance in pixels of the original to the matched cell, the same to a cell drawn
        evenly from the key view (chance), and the number of cells counted; nan where there is none.
    """
    inside = ((true_locations(boxes, flipped, grid_q) - 0.5).abs() <= 0.5).all(-1)
    query = cell_centers(boxes[:1], flipped[:1], grid_q)[0]  # (Hq*Wq, 2)
    key = cell_centers(boxes[1:], flipped[1:], grid_k)[0]  # (Hk*Wk, 2)
    distance = torch.cdist(query[inside].double(), key.double())
    matched = distance.gather(1, index[inside][:, None])
    return matched.mean().item(), distance.mean().item(), int(inside.sum())


def _fraction(cell: int, grid: tuple[int, int]) -> tuple[float, float]:
    """Centre of a cell, x and y as shares of the view."""
    row, column = divmod(int(cell), grid[1])
    return (column + 0.5) / grid[1], (row + 0.5) / grid[0]


def _connect(view_q, view_k, starts, ends, grid_q, grid_k, height) -> np.ndarray:
    left, right = resized(view_q, height).copy(), resized(view_k, height).copy()
    for view, grid in ((left, grid_q), (right, grid_k)):
        _grid_lines(view, grid)
    sheet = side_by_side([left, right], gap=40)
    shift = np.array([left.shape[1] + 40, 0])
    first = starts * [left.shape[1], height]
    second = ends * [right.shape[1], height] + shift
    visible = (np.abs(ends - 0.5) <= 0.5).all(-1)
    for a, b, seen, color in zip(first, second, visible, colors(len(first)), strict=True):
        a, b = (tuple(int(v) for v in point.round()) for point in (a, b))
        if seen:
            cv2.line(sheet, a, b, as_color(color), 1, cv2.LINE_AA)
            cv2.circle(sheet, b, 5, as_color(color), -1, cv2.LINE_AA)
            cv2.circle(sheet, b, 6, WHITE, 1, cv2.LINE_AA)
        cv2.circle(sheet, a, 5, as_color(color), -1 if seen else 2, cv2.LINE_AA)
        cv2.circle(sheet, a, 6, WHITE, 1, cv2.LINE_AA)
    return sheet


def _grid_lines(view: np.ndarray, grid: tuple[int, int]) -> None:
    """Lighten the borders of the cells, in place."""
    for axis in (0, 1):
        for number in range(1, grid[axis]):
            line = round(number * view.shape[axis] / grid[axis])
            border = view[line] if axis == 0 else view[:, line]
            border[:] = border // 2 + 127
