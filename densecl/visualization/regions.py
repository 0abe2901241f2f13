"""The same regions of an image in two views of it."""

import cv2
import numpy as np
from torch import Tensor

from .canvas import as_color, caption, colors, resized, side_by_side


def draw_regions(
    views: list[np.ndarray], boxes: list[Tensor | np.ndarray], height: int = 288
) -> np.ndarray:
    """Views side by side, each with its boxes; a region has the same number and colour everywhere.

    Args:
        views: uint8 (H, W, 3) each.
        boxes: for each view (R, 4), x1, y1, x2, y2 in its pixels.
        height: of the picture.
    """
    tiles = []
    for view, placed in zip(views, boxes, strict=True):
        tile = resized(view, height).copy()
        scaled = np.asarray(placed) * (height / view.shape[0])
        palette = colors(len(scaled))
        for box, color in zip(scaled, palette, strict=True):
            x1, y1, x2, y2 = (int(round(value)) for value in box)
            cv2.rectangle(tile, (x1, y1), (x2 - 1, y2 - 1), as_color(color), 2)
        for number, (box, color) in enumerate(zip(scaled, palette, strict=True)):
            caption(tile, str(number), (box[0], box[1]), color)
        tiles.append(tile)
    return side_by_side(tiles, gap=40)
