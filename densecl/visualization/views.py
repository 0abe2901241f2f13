"""An image, the crops taken from it, and the views that they became."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from .canvas import caption, colors, outline, resized, side_by_side, stacked, titled


def displayable(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> list[np.ndarray]:
    """Undo the normalisation: B uint8 arrays (H, W, 3).

    Args:
        images: float (B, 3, H, W), normalised.
        mean, std: of each channel, on the scale 0..255.
    """
    planes = images.detach().float().cpu().permute(0, 2, 3, 1)
    pixels = planes * planes.new_tensor(std) + planes.new_tensor(mean)
    return list(pixels.round().clamp(0, 255).byte().numpy())


def draw_views(
    image: np.ndarray,
    boxes: Tensor | np.ndarray,
    flipped: Sequence[bool],
    views: Sequence[np.ndarray],
    source_size: tuple[int, int] | None = None,
    height: int = 224,
    columns: int = 9,
) -> np.ndarray:
    """A contact sheet: the image with its crops as rectangles, then the views, in the same colours.

    Args:
        image: uint8 (H, W, 3), the original, perhaps at a reduced size.
        boxes: (V, 4), the crops, x1, y1, x2, y2 in pixels of the original.
        flipped: V booleans.
        views: V uint8 arrays (Hv, Wv, 3).
        source_size: height and width that ``boxes`` refer to; those of ``image`` by default.
        height: of a tile, in pixels.
        columns: tiles in a row.
    """
    original = resized(image, height)
    size = source_size or image.shape[:2]
    scale = np.array([original.shape[1] / size[1], original.shape[0] / size[0]] * 2)
    tiles = []
    drawn = zip(np.asarray(boxes) * scale, views, flipped, colors(len(views)), strict=True)
    for number, (box, view, mirrored, color) in enumerate(drawn):
        outline(original, box, color, 2)
        caption(original, str(number), (box[0], box[1]), color)
        tile = resized(view, height).copy()
        outline(tile, (0, 0, tile.shape[1], height), color, 2)
        tiles.append(titled(tile, f'view {number}, mirrored' if mirrored else f'view {number}'))
    tiles.insert(0, titled(original, f'{size[1]} x {size[0]}'))
    return stacked([side_by_side(tiles[i : i + columns]) for i in range(0, len(tiles), columns)])
