"""Which slot won which part of a picture."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import torch.nn.functional as F
from torch import Tensor

from .canvas import BLACK, WHITE, as_color, caption, colors, inside, resized, side_by_side, stacked


def assigned(scores: Tensor, size: tuple[int, int]) -> np.ndarray:
    """The slot with the best score at every pixel, int64 (H, W).

    Args:
        scores: (K, h, w), cosines of slots and cells; interpolated first, for smooth borders.
        size: height and width of the result.
    """
    smooth = F.interpolate(scores[None].float(), size, mode='bilinear', align_corners=False)
    return smooth[0].argmax(0).numpy()


def draw_groups(
    image: np.ndarray,
    assignment: np.ndarray,
    palette: Mapping[int, Sequence[int]] | None = None,
    height: int = 240,
) -> np.ndarray:
    """A picture beside the same picture coloured by group, with the slots' numbers at their places.

    Args:
        image: uint8 (H, W, 3).
        assignment: (H, W), the slot of each pixel, from :func:`assigned`.
        palette: colour of a slot, the same on many pictures; slots that it lacks stay uncoloured. By default
            the slots of this picture.
        height: of the result.
    """
    if palette is None:
        slots, counts = np.unique(assignment, return_counts=True)
        palette = palette_of(dict(zip(slots.tolist(), counts.tolist(), strict=True)))
    image = resized(image, height)
    nearest = cv2.INTER_NEAREST
    assignment = cv2.resize(assignment.astype(np.int32), image.shape[1::-1], interpolation=nearest)
    painted = image.copy()
    masks = {int(slot): assignment == slot for slot in np.unique(assignment)}
    for slot, mask in masks.items():
        if slot in palette:
            painted[mask] = image[mask] * 0.4 + np.asarray(palette[slot]) * 0.6
    painted[_borders(assignment)] = WHITE
    for slot, mask in masks.items():
        x, y = inside(mask)
        caption(painted, str(slot), (x - 8, y - 8), palette.get(slot, BLACK))
    return side_by_side([image, painted])


def draw_slots(
    images: Sequence[np.ndarray],
    scores: Sequence[Tensor],
    slots: Sequence[int],
    count: int = 8,
    height: int = 96,
) -> np.ndarray:
    """A row a slot: the pictures where it scores best, dark where another slot wins.

    Args:
        images: uint8 (H, W, 3) each.
        scores: (K, h, w) each.
        slots: the slots to draw, a row each.
        count: pictures in a row.
        height: of a row.
    """
    rows = []
    for slot in slots:
        best = sorted(range(len(images)), key=lambda i: -_strength(scores[i], slot))[:count]
        tiles = []
        for i in best:
            tile = resized(images[i], height)
            won = assigned(scores[i], tile.shape[:2]) == slot
            tile = np.where(won[..., None], tile, tile // 4)
            tiles.append(tile[:, : 2 * height])
        tiles[0] = tiles[0].copy()
        caption(tiles[0], str(slot), (0, 0), WHITE)
        rows.append(side_by_side(tiles))
    return stacked(rows)


def palette_of(areas: Mapping[int, float]) -> dict[int, tuple[int, ...]]:
    """Slot -> colour, the most distinct colours for the largest areas."""
    order = sorted(areas, key=lambda slot: (-areas[slot], slot))
    return {slot: as_color(color) for slot, color in zip(order, colors(len(order)), strict=True)}


def _strength(scores: Tensor, slot: int) -> float:
    """Best score of a slot among the cells it wins; -1 where it wins none."""
    won = scores.argmax(0) == slot
    return float(scores[slot][won].max()) if bool(won.any()) else -1.0


def _borders(assignment: np.ndarray) -> np.ndarray:
    """Pixels whose right or lower neighbour is of another group."""
    border = np.zeros(assignment.shape, bool)
    border[:, :-1] |= assignment[:, :-1] != assignment[:, 1:]
    border[:-1] |= assignment[:-1] != assignment[1:]
    return border
