"""``DrawnView``: a view with drawn parameters, but without pixels.

All views of a photo are drawn before their pixels are made. So the photo can be decoded at the size that they
need.
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
    """A part of a photo, and the size it is resized to.

    Attributes:
        box: x1, y1, x2, y2, whole numbers, in pixels of the photo at full size.
        size: height and width in pixels, after the resize.
        flip: flipped horizontally.
        interpolation: ``bilinear`` or ``bicubic``.
        scale: the photo is decoded at 1 / scale; all four numbers of ``box`` are multiples of it.
        warp: matrix from the view, before the flip, to the crop (``warp.py``); None: no warp.
        fill: value of pixels outside the photo, if the view is warped.
    """

    box: tuple[int, int, int, int]
    size: tuple[int, int]
    flip: bool = False
    interpolation: str = 'bilinear'
    scale: int = 1
    warp: Matrix | None = None
    fill: float | tuple[float, ...] = 0.0

    def has_pixels(self, scale: int, share: float) -> bool:
        """Whether at 1 / scale the crop has at least ``share`` times its view's pixels along both sides."""
        x1, y1, x2, y2 = self.box
        share = share if self.warp is None else share / zoom(self.warp)
        return x2 - x1 >= scale * share * self.size[1] and y2 - y1 >= scale * share * self.size[0]

    def on_grid(self, scale: int, shape: tuple[int, ...]) -> 'Crop':
        """The crop with its edges moved to whole pixels of the photo at 1 / scale."""
        x1, x2 = _on_grid(self.box[0], self.box[2], scale, shape[1])
        y1, y2 = _on_grid(self.box[1], self.box[3], scale, shape[0])
        return self._replace(box=(x1, y1, x2, y2), scale=scale)

    def cut(self, pixels: np.ndarray) -> np.ndarray:
        """Cut the crop out of a photo (H, W, C), decoded at 1 / scale; never shares memory with it."""
        box = tuple(edge // self.scale for edge in self.box)
        if self.warp is not None:
            view = warp_crop(pixels, box, self.size, self.warp, self.fill, self.interpolation)
            return np.ascontiguousarray(view[:, ::-1]) if self.flip else view
        return resize_crop(pixels, box, self.size, self.interpolation, self.flip)


def _on_grid(near: int, far: int, scale: int, length: int) -> tuple[int, int]:
    """The multiples of ``scale`` nearest to two edges, among the pixels that are complete."""
    first, last = (near + scale // 2) // scale, (far + scale // 2) // scale
    if last > length // scale:
        first, last = near // scale, length // scale  # not the nearest, but the crop keeps its pixels
    return first * scale, last * scale


class DrawnView(NamedTuple):
    """One view before its pixels are made.

    Attributes:
        crop: the crop of the photo that the view shows completely or in part.
        photometric: parameters that are still to be applied, or None.
        part: the view's part of the resized crop, x1, y1, x2, y2 in its pixels; None: all of it.
        mirrored: the part is flipped horizontally, in addition to the crop's flip.
        channel_shifts: for each channel, the shift of its part to the right and down, in pixels; or None.
        recolour: function of the pixels that the worker applies, uint8 (H, W, 3) -> the same; or None.
        mask: (h, w) bool over the view's patches, True = masked; or a mask that is drawn with the batch; or
            None.
        asked: (n,) int64, the masked patches that a predictor has to predict; None: all.
        corruption: the replacement of masked pixels, or None.
        turns: rotations by 90 degrees counter-clockwise after all flips, included in ``warp``; or None.
        generated: the view is cut from the photo's generated image.
        answer: a class that says what was done to the view, for a head to predict
            (``target=dict(type='Known')``), or None.
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
        """Whether the view is flipped horizontally."""
        return self.crop.flip != self.mirrored

    @property
    def warp(self) -> Tensor | None:
        """(3, 3) float64, matrix from the view, before its flip, to its box; None without a warp."""
        if self.crop.warp is None and self.turns is None:
            return None
        within = np.eye(3) if self.crop.warp is None else relative_to_hull(self.crop.warp)
        turns = (self.turns or 0) * (-1 if self.flipped else 1)  # rotation comes after the flip
        return torch.from_numpy(within @ np.linalg.matrix_power(QUARTER_TURN, turns % 4))

    @property
    def upright(self) -> bool:
        """Whether the view shows exactly its box: no warp, or only a vertical flip."""
        if self.turns:
            return False
        if self.crop.warp is None:
            return True
        near, far = hull(self.crop.warp)
        corners = outline(self.crop.warp)
        return bool((np.isclose(corners, near) | np.isclose(corners, far)).all())

    @property
    def box(self) -> Box:
        """The visible box: x1, y1, x2, y2 in pixels of the photo at full size; whole numbers unless a part.

        For a warped view it is the smallest box around the view, which may extend beyond the photo.
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
    """Choose the photo's decoding scale; return the views with crops on whole pixels at that scale.

    It is the coarsest scale at which every crop has enough pixels (:meth:`Crop.has_pixels`). The edges of
    crops move by at most half a pixel of that scale; at the photo's end by less than one pixel.
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
    """The pixels of views from :func:`fit_to_photo`, (H, W, C) each; they share no memory."""
    scales = [view.crop.scale for view in views if not view.generated]
    if scales and not isinstance(image, np.ndarray):
        image = image.decode(scales[0])
    puzzles: dict[Crop, np.ndarray] = {}  # a crop with several parts is resized only once
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
