"""``DrawnView``: a view whose geometry is drawn and whose pixels are still to be made.

All views of a photo are drawn before any is made, so that the photo is decoded at the size that they need.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from densecl.datasets.decode import Photo
from densecl.structures import BatchMask, Corruption, PhotometricParams

from .crop import resize_crop
from .warp import QUARTER_TURN, Matrix, hull, outline, relative_to_hull, warp_crop, zoom

Box = tuple[float, float, float, float]


class Crop(NamedTuple):
    """A part of a photo, and what it is resized to.

    Attributes:
        box: x1, y1, x2, y2, whole numbers, in pixels of the photo at full size.
        size: height and width in pixels.
        flip: mirrored left to right.
        interpolation: ``bilinear`` or ``bicubic``.
        scale: the photo is decoded at 1 / scale; it divides all four numbers of ``box``.
        warp: how the view, before it is mirrored, lies in the crop (``warp.py``); None: it shows the crop.
        fill: value of what lies outside of the photo, where the view is warped.
    """

    box: tuple[int, int, int, int]
    size: tuple[int, int]
    flip: bool = False
    interpolation: str = 'bilinear'
    scale: int = 1
    warp: Matrix | None = None
    fill: float | tuple[float, ...] = 0.0

    def has_pixels(self, scale: int, share: float) -> bool:
        """Whether the crop keeps ``share`` times the pixels of its view, along both sides, at 1 / scale."""
        x1, y1, x2, y2 = self.box
        share = share if self.warp is None else share / zoom(self.warp)
        return x2 - x1 >= scale * share * self.size[1] and y2 - y1 >= scale * share * self.size[0]

    def on_grid(self, scale: int, shape: tuple[int, ...]) -> 'Crop':
        """The crop with its edges on whole pixels of the photo at 1 / scale."""
        x1, x2 = _on_grid(self.box[0], self.box[2], scale, shape[1])
        y1, y2 = _on_grid(self.box[1], self.box[3], scale, shape[0])
        return self._replace(box=(x1, y1, x2, y2), scale=scale)

    def cut(self, pixels: np.ndarray) -> np.ndarray:
        """The crop of a photo (H, W, C), decoded at 1 / scale; it never shares memory with it."""
        box = tuple(edge // self.scale for edge in self.box)
        if self.warp is not None:
            view = warp_crop(pixels, box, self.size, self.warp, self.fill, self.interpolation)
            return np.ascontiguousarray(view[:, ::-1]) if self.flip else view
        return resize_crop(pixels, box, self.size, self.interpolation, self.flip)


def _on_grid(near: int, far: int, scale: int, length: int) -> tuple[int, int]:
    """The nearest multiples of ``scale`` to two edges, within the pixels that are whole."""
    first, last = (near + scale // 2) // scale, (far + scale // 2) // scale
    if last > length // scale:
        first, last = near // scale, length // scale  # not the nearest, but no pixel less
    return first * scale, last * scale


class DrawnView(NamedTuple):
    """One view before its pixels are made.

    Attributes:
        crop: the crop of the photo that it shows, or of which it shows a part.
        photometric: parameters still to be applied, or None.
        part: x1, y1, x2, y2 in pixels of the resized crop: the view is this part of it; None: all.
        mirrored: the part is mirrored by itself.
        channel_shifts: of each channel how many pixels further right and down its part lies, or None.
        recolour: what is done in the worker to the pixels, uint8 (H, W, 3) -> the same; or None.
        mask: (h, w) bool over the view's patches, True = masked; what is drawn with the batch; or None.
        asked: (n,) int64, the masked patches that a predictor is asked for; None: all.
        corruption: what replaces the masked pixels, or None.
        turns: quarter turns counter-clockwise, after all flips, a part of ``warp``; or None.
        generated: cut from the photo's generated image.
        answer: what was done to it, a class that a head may learn to tell (``target=dict(type='Known')``), or
            None.
    """

    crop: Crop
    photometric: PhotometricParams | None = None
    part: tuple[int, int, int, int] | None = None
    mirrored: bool = False
    recolour: Callable[[np.ndarray], np.ndarray] | None = None
    mask: np.ndarray | BatchMask | None = None
    asked: np.ndarray | None = None
    corruption: Corruption | None = None
    turns: int | None = None
    answer: int | None = None
    channel_shifts: tuple[tuple[int, int], ...] | None = None
    generated: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        if self.part is None:
            return self.crop.size
        return self.part[3] - self.part[1], self.part[2] - self.part[0]

    @property
    def flipped(self) -> bool:
        """Mirrored left to right."""
        return self.crop.flip != self.mirrored

    @property
    def warp(self) -> Tensor | None:
        """(3, 3) float64, how it lies in its box, before it is mirrored; None where it shows the box."""
        if self.crop.warp is None and self.turns is None:
            return None
        within = np.eye(3) if self.crop.warp is None else relative_to_hull(self.crop.warp)
        turns = (self.turns or 0) * (-1 if self.flipped else 1)  # the mirror stands between
        return torch.from_numpy(within @ np.linalg.matrix_power(QUARTER_TURN, turns % 4))

    @property
    def upright(self) -> bool:
        """Whether its sides are those of its box: it is not warped, or at most upside down."""
        if self.turns:
            return False
        if self.crop.warp is None:
            return True
        near, far = hull(self.crop.warp)
        corners = outline(self.crop.warp)
        return bool((np.isclose(corners, near) | np.isclose(corners, far)).all())

    @property
    def box(self) -> Box:
        """What it shows: x1, y1, x2, y2 in pixels of the photo at full size; whole numbers but for a part.

        Of a warped view the smallest box around it, which may leave the photo.
        """
        if self.crop.warp is not None:
            x1, y1, x2, y2 = self.crop.box
            (left, top), (right, bottom) = hull(self.crop.warp)
            width, height = x2 - x1, y2 - y1
            return x1 + left * width, y1 + top * height, x1 + right * width, y1 + bottom * height
        if self.part is None:
            return self.crop.box
        (height, width), (left, top, right, bottom) = self.crop.size, self.part
        if self.crop.flip:
            left, right = width - right, width - left
        x1, y1, x2, y2 = self.crop.box
        scale_x, scale_y = (x2 - x1) / width, (y2 - y1) / height
        return x1 + left * scale_x, y1 + top * scale_y, x1 + right * scale_x, y1 + bottom * scale_y


def fit_to_photo(image: np.ndarray | Photo, views: list[DrawnView]) -> list[DrawnView]:
    """The views with crops on whole pixels of the photo as it will be decoded.

    It is decoded at the coarsest scale at which every crop keeps its pixels (:meth:`Crop.has_pixels`). The
    edges of crops move by at most half a pixel of that scale, at the photo's end by less than one.
    """
    if isinstance(image, np.ndarray):
        return views
    crops = [view.crop for view in views if not view.generated]
    scales = [s for s in image.scales if all(crop.has_pixels(s, image.resolution) for crop in crops)]
    scale = max(scales, default=1)
    if scale == 1:
        return views
    return [
        view if view.generated else view._replace(crop=view.crop.on_grid(scale, image.shape))
        for view in views
    ]


def make_pixels(
    image: np.ndarray | Photo, views: list[DrawnView], generated: np.ndarray | None = None
) -> list[np.ndarray]:
    """The pixels of views that :func:`fit_to_photo` has seen, (H, W, C) each; none shares memory."""
    scales = [view.crop.scale for view in views if not view.generated]
    if scales and not isinstance(image, np.ndarray):
        image = image.decode(scales[0])
    puzzles: dict[Crop, np.ndarray] = {}  # of several parts of one crop, this is resized once
    return [_pixels_of(view, generated if view.generated else image, puzzles) for view in views]


def _pixels_of(view: DrawnView, pixels: np.ndarray, puzzles: dict[Crop, np.ndarray]) -> np.ndarray:
    if view.part is None:
        found = view.crop.cut(pixels)
    else:
        if view.crop not in puzzles:
            puzzles[view.crop] = view.crop.cut(pixels)
        part = _part_of(view, puzzles[view.crop])
        found = np.array(part[:, ::-1] if view.mirrored else part)
    if view.turns:
        found = np.rot90(found, view.turns).copy()
    return found if view.recolour is None else view.recolour(found)


def _part_of(view: DrawnView, whole: np.ndarray) -> np.ndarray:
    x1, y1, x2, y2 = view.part
    if view.channel_shifts is None:
        return whole[y1:y2, x1:x2]
    planes = [whole[y1 + y : y2 + y, x1 + x : x2 + x, c] for c, (x, y) in enumerate(view.channel_shifts)]
    return np.stack(planes, -1)
