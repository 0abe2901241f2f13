"""The objects of an image in the views of it."""

import cv2
import numpy as np

from densecl.structures import ViewRegions

from .canvas import as_color, caption, colors, resized, side_by_side


def draw_objects(
    views: list[np.ndarray], regions: list[ViewRegions], height: int = 288
) -> np.ndarray:
    """Views side by side, each with its boxes; an object has one number and one colour everywhere.

    Args:
        views: uint8 (H, W, 3) each.
        regions: those of each view, of one image; the number is the id, and those with the id -1 are left
            out.
        height: of the picture.
    """
    ids = dict.fromkeys(number for r in regions for number in r.ids.tolist() if number >= 0)
    palette = dict(zip(ids, colors(len(ids)), strict=True))
    tiles = [
        _with_boxes(view, placed, palette, height)
        for view, placed in zip(views, regions, strict=True)
    ]
    return side_by_side(tiles, gap=12)


def _with_boxes(
    view: np.ndarray, placed: ViewRegions, palette: dict[int, np.ndarray], height: int
) -> np.ndarray:
    tile = resized(view, height).copy()
    scaled = placed.boxes.cpu().numpy() * (height / view.shape[0])
    seen = [(n, box) for n, box in zip(placed.ids.tolist(), scaled, strict=True) if n >= 0]
    for number, box in seen:
        x1, y1, x2, y2 = (int(round(value)) for value in box)
        cv2.rectangle(tile, (x1, y1), (x2 - 1, y2 - 1), as_color(palette[number]), 2)
    for number, box in seen:  # above all boxes
        caption(tile, str(number), (box[0], box[1]), palette[number])
    return tile
