"""Which cell of one view was matched to which of the other, and where it truly lies."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from densecl.structures import cell_centers, image_to_view

from .canvas import WHITE, as_color, colors, resized, side_by_side

Warps = tuple[Tensor | None, Tensor | None]


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

    Lines of one cell have one colour; a cell without a match is drawn as a ring.

    Args:
        view_q, view_k: uint8 (H, W, 3).
        index: (Hq*Wq,), the matched cell of the key's map for each cell of the query's, row-major; or bool
            (Hq*Wq, Hk*Wk), any number of matches.
        grid_q, grid_k: height and width of each view's map in cells.
        cells: the query cells to draw; all by default.
        height: of the picture.
    """
    cells = range(grid_q[0] * grid_q[1]) if cells is None else cells
    index = np.asarray(index)
    lines = []
    for cell in cells:
        found = np.flatnonzero(index[cell]) if index.dtype == bool else [index[cell]]
        lines.append((_fraction(cell, grid_q), [_fraction(match, grid_k) for match in found]))
    return _connect(view_q, view_k, lines, grid_q, grid_k, height)


def draw_true_locations(
    view_q: np.ndarray,
    view_k: np.ndarray,
    boxes: Tensor,
    flipped: Tensor,
    grid: tuple[int, int],
    cells: Sequence[int] | None = None,
    height: int = 288,
    warps: Warps = (None, None),
) -> np.ndarray:
    """The geometric counterpart of :func:`draw_matches`: lines end where the cell really lies.

    Cells that lie outside the second crop are drawn as a ring without a line.

    Args:
        view_q, view_k, cells, height: as in :func:`draw_matches`.
        boxes: (2, 4), the crops of query and key in the original image.
        flipped: (2,) bool.
        grid: height and width of the map in cells.
        warps: (1, 3, 3) of query and key, or None.
    """
    cells = list(range(grid[0] * grid[1]) if cells is None else cells)
    ends = true_locations(boxes, flipped, grid, warps)[cells].numpy()
    lines = [(_fraction(c, grid), [end]) for c, end in zip(cells, ends, strict=True)]
    return _connect(view_q, view_k, lines, grid, grid, height)


def true_locations(
    boxes: Tensor, flipped: Tensor, grid: tuple[int, int], warps: Warps = (None, None)
) -> Tensor:
    """Where the centres of a query's cells lie in the key view, as shares of its width and height.

    Args:
        boxes: (2, 4), the crops of query and key in the original image.
        flipped: (2,) bool.
        grid: height and width of the query's map in cells.
        warps: (1, 3, 3) of query and key, or None.

    Returns:
        (H*W, 2), x and y; outside [0, 1] the cell is not in the key view.
    """
    centers = cell_centers(boxes[:1], flipped[:1], grid, warps[0])
    return image_to_view(centers, boxes[1:], flipped[1:], (1, 1), warps[1])[0]


def match_distance(
    index: Tensor,
    boxes: Tensor,
    flipped: Tensor,
    grid_q: tuple[int, int],
    grid_k: tuple[int, int],
    warps: Warps = (None, None),
) -> tuple[float, float, int]:
    """How far in the original image matched cells lie apart, and how far any two would.

    Only query cells whose centre the key view shows are counted: the others have no right match.

    Args:
        index: (Hq*Wq,), the matched key cells; or bool (Hq*Wq, Hk*Wk), any number of matches.
        boxes: (2, 4), the crops of query and key in the original image.
        flipped: (2,) bool.
        grid_q, grid_k: height and width of each view's map in cells.
        warps: (1, 3, 3) of query and key, or None.

    Returns:
        Mean distance in pixels of the original to the matched cells, the same to a cell drawn
        evenly from the key view (chance), and the number of cells counted; nan where there is none.
    """
    inside = ((true_locations(boxes, flipped, grid_q, warps) - 0.5).abs() <= 0.5).all(-1)
    query = cell_centers(boxes[:1], flipped[:1], grid_q, warps[0])[0]  # (Hq*Wq, 2)
    key = cell_centers(boxes[1:], flipped[1:], grid_k, warps[1])[0]  # (Hk*Wk, 2)
    distance = torch.cdist(query[inside].double(), key.double())
    index = torch.as_tensor(index)[inside]
    matched = distance[index] if index.dtype == torch.bool else distance.gather(1, index[:, None])
    return matched.mean().item(), distance.mean().item(), int(inside.sum())


def _fraction(cell: int, grid: tuple[int, int]) -> tuple[float, float]:
    """Centre of a cell, x and y as shares of the view."""
    row, column = divmod(int(cell), grid[1])
    return (column + 0.5) / grid[1], (row + 0.5) / grid[0]


def _connect(view_q, view_k, lines, grid_q, grid_k, height) -> np.ndarray:
    """Draw ``lines``, (start, ends) in shares of the views; ends outside of the second view are left out."""
    left, right = resized(view_q, height).copy(), resized(view_k, height).copy()
    for view, grid in ((left, grid_q), (right, grid_k)):
        _grid_lines(view, grid)
    sheet = side_by_side([left, right], gap=40)
    dots = []
    for (start, ends), color in zip(lines, map(as_color, colors(len(lines))), strict=True):
        first = _pixel(start, left, 0)
        seen = [_pixel(end, right, left.shape[1] + 40) for end in ends if min(end) >= 0 and max(end) <= 1]
        for second in seen:
            cv2.line(sheet, first, second, color, 1, cv2.LINE_AA)
        dots += [(point, color, -1) for point in seen] + [(first, color, -1 if seen else 2)]
    for point, color, width in dots:  # above all lines
        cv2.circle(sheet, point, 5, color, width, cv2.LINE_AA)
        cv2.circle(sheet, point, 6, WHITE, 1, cv2.LINE_AA)
    return sheet


def _pixel(point, view: np.ndarray, shift: int) -> tuple[int, int]:
    return round(point[0] * view.shape[1]) + shift, round(point[1] * view.shape[0])


def _grid_lines(view: np.ndarray, grid: tuple[int, int]) -> None:
    """Lighten the borders of the cells, in place."""
    for axis in (0, 1):
        for number in range(1, grid[axis]):
            line = round(number * view.shape[axis] / grid[axis])
            border = view[line] if axis == 0 else view[:, line]
            border[:] = border // 2 + 127
