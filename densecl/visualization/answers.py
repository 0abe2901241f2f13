"""Questions of pretext tasks, with the right answer and the one that was given."""

from collections.abc import Sequence

import numpy as np

from .canvas import caption, outline, resized, side_by_side, stacked

RIGHT, WRONG, GREY = (40, 160, 60), (210, 50, 40), np.uint8(235)


def draw_turn(view: np.ndarray, right: int, given: int, side: int = 120) -> np.ndarray:
    """A turned view, and the same as it would stand upright if the answer were true.

    Args:
        view: uint8 (H, H, 3).
        right, given: quarter turns counter-clockwise.
        side: of a tile, in pixels.
    """
    tiles = [_tile(view, side), _tile(np.rot90(view, -given), side)]
    return _marked(tiles, right == given, '' if right == given else f'{90 * right} deg, not {90 * given}')


def draw_puzzle(
    tiles: Sequence[np.ndarray], right: Sequence[int], given: Sequence[int], side: int = 120
) -> np.ndarray:
    """A puzzle as it was asked, and as the answer puts it together, wrong tiles with a red border.

    Args:
        tiles: P uint8 arrays of one size.
        right, given: P cells, where the first, second, ... tile belongs and where it is put.
        side: of a puzzle, in pixels.
    """
    put, count = np.argsort(given), 0
    made = [np.ascontiguousarray(tiles[i]) for i in put]
    for cell, i in enumerate(put):
        if right[i] != cell:
            made[cell], count = made[cell].copy(), count + 1
            outline(made[cell], (0, 0, *made[cell].shape[1::-1]), WRONG, 1)
    return _marked([_grid(tiles, side), _grid(made, side)], not count, f'{count} wrong' if count else '')


def draw_pair(
    first: np.ndarray, second: np.ndarray, right: Sequence[int], given: Sequence[int], side: int = 120
) -> np.ndarray:
    """Two patches: the second where it was, and where the answer puts it.

    Args:
        first, second: uint8 (P, P, 3).
        right, given: x and y of the second from the first, in -1..1.
        side: of a picture, in pixels.
    """
    shown = []
    for x, y in (right, given):
        cells = [np.full_like(first, GREY) for _ in range(9)]
        cells[4], cells[4 + x + 3 * y] = first, second
        shown.append(_grid(cells, side))
    return _marked(shown, tuple(right) == tuple(given), '')


def _tile(image: np.ndarray, side: int) -> np.ndarray:
    return resized(np.ascontiguousarray(image), side)


def _grid(tiles: Sequence[np.ndarray], side: int, gap: int = 2) -> np.ndarray:
    """Tiles row by row in a square."""
    count = round(len(tiles) ** 0.5)
    rows = [side_by_side(tiles[i : i + count], gap) for i in range(0, len(tiles), count)]
    return resized(stacked(rows, gap), side)


def _marked(tiles: Sequence[np.ndarray], right: bool, text: str) -> np.ndarray:
    """Question and answer, the answer with a green or a red border."""
    answer = tiles[-1].copy()
    outline(answer, (0, 0, *answer.shape[1::-1]), RIGHT if right else WRONG, 3)
    if text:
        caption(answer, text, (4, 4), (255, 255, 255))
    return side_by_side([*tiles[:-1], answer], gap=3)
