"""An image, the crops taken from it, and the views that they became."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from densecl.structures import view_to_image

from .canvas import as_color, caption, colors, outline, resized, side_by_side, stacked, titled

_HIDDEN = np.uint8(128)


def displayable(
    images: Tensor,
    mean: Sequence[float],
    std: Sequence[float],
    low: Sequence[float] | None = None,
    high: Sequence[float] | None = None,
) -> list[np.ndarray]:
    """Undo the normalisation: B uint8 arrays (H, W, 3).

    Args:
        images: float (B, C, H, W), normalised.
        mean, std: of each channel; of RGB on the scale 0..255.
        low, high: black and white of each channel, see :func:`as_picture`; None for RGB.
    """
    planes = images.detach().float().cpu().permute(0, 2, 3, 1)
    pixels = planes * planes.new_tensor(std) + planes.new_tensor(mean)
    if low is not None or len(std) != 3:
        return [as_picture(image, low, high) for image in pixels.numpy()]
    return list(pixels.round().clamp(0, 255).byte().numpy())


def as_picture(
    image: np.ndarray, low: Sequence[float] | None = None, high: Sequence[float] | None = None
) -> np.ndarray:
    """The first three channels of an image as red, green and blue, uint8 (H, W, 3).

    One channel becomes grey; of two, blue is black. An 8-bit RGB image without ``low`` and ``high`` stays.

    Args:
        image: (H, W, C), of any depth.
        low, high: of each channel the values that become black and white; the image's own percentiles 0.1 and
            99.9 where they are None.
    """
    if image.dtype == np.uint8 and image.shape[2] == 3 and low is None and high is None:
        return image
    pixels = image[:, :, :3].astype(np.float32)
    own = np.percentile(pixels, (0.1, 99.9), axis=(0, 1))
    black, white = (
        own[i] if given is None else np.asarray(given[:3], np.float32) for i, given in enumerate((low, high))
    )
    scaled = (pixels - black) * (255 / np.maximum(white - black, 1e-12))
    picture = np.rint(scaled.clip(0, 255)).astype(np.uint8)
    if picture.shape[2] == 1:
        return np.repeat(picture, 3, 2)
    return np.pad(picture, ((0, 0), (0, 0), (0, 3 - picture.shape[2])))


def hide_masked(image: np.ndarray, mask: Tensor | np.ndarray) -> np.ndarray:
    """A view with its masked patches grey.

    Args:
        image: uint8 (H, W, 3).
        mask: (h, w) bool, True = masked; h and w divide H and W.
    """
    mask = np.asarray(mask)
    hidden = mask.repeat(image.shape[0] // mask.shape[0], 0).repeat(image.shape[1] // mask.shape[1], 1)
    return np.where(hidden[:, :, None], _HIDDEN, image)


def draw_reconstruction(
    image: np.ndarray,
    mask: Tensor | np.ndarray,
    reconstruction: np.ndarray,
    seen: np.ndarray | None = None,
) -> np.ndarray:
    """A view, what the network sees of it, and the view with what the network puts in its place.

    Args:
        image: uint8 (H, W, 3).
        mask: (h, w) bool, True = masked; h and w divide H and W.
        reconstruction: uint8 (H, W, 3).
        seen: uint8 (H, W, 3), where masked pixels were replaced; None: masked patches are shown grey.
    """
    hidden = np.asarray(mask)
    for axis in (0, 1):
        hidden = hidden.repeat(image.shape[axis] // mask.shape[axis], axis)
    filled = np.where(hidden[:, :, None], reconstruction, image)
    return side_by_side([image, hide_masked(image, mask) if seen is None else seen, filled])


def draw_views(
    image: np.ndarray,
    boxes: Tensor | np.ndarray,
    flipped: Sequence[bool],
    views: Sequence[np.ndarray],
    source_size: tuple[int, int] | None = None,
    height: int = 224,
    columns: int = 9,
    warps: Sequence[Tensor | None] | None = None,
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
        warps: V entries, (3, 3) or None, of warped views, which are drawn as they lie in the image.
    """
    original = resized(image, height)
    size = source_size or image.shape[:2]
    scale = np.array([original.shape[1] / size[1], original.shape[0] / size[0]] * 2)
    tiles = []
    drawn = zip(np.asarray(boxes) * scale, views, flipped, colors(len(views)), strict=True)
    for number, (box, view, mirrored, color) in enumerate(drawn):
        if warps is None or warps[number] is None:
            outline(original, box, color, 2)
        else:
            corners = torch.tensor([[[0.0, 0], [1, 0], [1, 1], [0, 1]]])
            place = torch.tensor(box[None]), torch.tensor([bool(mirrored)])
            corners = view_to_image(corners, *place, (1, 1), warps[number][None])[0]
            cv2.polylines(original, [corners.round().int().numpy()], True, as_color(color), 2)
        caption(original, str(number), (box[0], box[1]), color)
        tile = resized(view, height).copy()
        outline(tile, (0, 0, tile.shape[1], height), color, 2)
        tiles.append(titled(tile, f'view {number}, mirrored' if mirrored else f'view {number}'))
    tiles.insert(0, titled(original, f'{size[1]} x {size[0]}'))
    return stacked([side_by_side(tiles[i : i + columns]) for i in range(0, len(tiles), columns)])
