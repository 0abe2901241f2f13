"""The objects of an image in the views of it."""

import numpy as np

from densecl.structures import ViewRegions

from .canvas import caption, colors, outline, resized, side_by_side


def draw_objects(views: list[np.ndarray], regions: list[ViewRegions], height: int = 288) -> np.ndarray:
    """Views side by side, each with its boxes; an object has one number and one colour everywhere.

    Args:
        views: uint8 (H, W, 3) each.
        regions: those of each view, of one image; the number is the id, those with the id -1 are left out.
        height: of the picture.
    """
    ids = dict.fromkeys(number for r in regions for number in r.ids.tolist() if number >= 0)
    palette = dict(zip(ids, colors(len(ids)), strict=True))
    tiles = []
    for view, placed in zip(views, regions, strict=True):
        tile = resized(view, height).copy()
        scaled = placed.boxes.cpu().numpy() * (height / view.shape[0])
        seen = [(n, box) for n, box in zip(placed.ids.tolist(), scaled, strict=True) if n >= 0]
        for number, box in seen:
            outline(tile, box, palette[number], 2)
        for number, box in seen:  # above all boxes
            caption(tile, str(number), (box[0], box[1]), palette[number])
        tiles.append(tile)
    return side_by_side(tiles, gap=12)
