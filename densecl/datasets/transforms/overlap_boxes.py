"""``OverlapBoxes``: random boxes in the part of the image that two views share."""

import numpy as np
import torch

from densecl.registry import TRANSFORMS
from densecl.structures import ViewRegions

from .drawn import DrawnView
from .selector import check_views, place, whole_view

Box = tuple[float, float, float, float]
# Number of draws of a box that are made one by one, as most boxes fit soon. Further draws are made together.
_SINGLE = 8


@TRANSFORMS.register_module()
class OverlapBoxes:
    """Draw K boxes in the overlap of two views (SCRL, Roh et al., 2021). A selector of :class:`MultiView`.

    All lengths are whole pixels of the view with the smaller magnification, per axis. The overlap is divided
    into a random grid with cells of at least ``min_size``. The box lies in a random cell; its sides are
    uniform between ``min_size`` and the cell's sides. A box that overlaps an earlier one too much is drawn
    again. If this holds for all ``tries``, the box with the smallest overlap is taken (the official code
    takes the last).

    Boxes have the ids 0 .. K - 1 in both views. If a side of the overlap is not larger than ``min_size``, all
    ids are -1 and all boxes are the whole view.

    Args:
        count: K.
        min_size: smallest side of a box.
        max_iou: intersection over union with every earlier box stays below this, in (0, 1].
        tries: largest number of draws for a box.
        views: the two views; the others have no boxes (None).

    Raises:
        ValueError: a number is out of range, or there are not two views; when called, a view is missing.
    """

    def __init__(
        self,
        count: int = 10,
        min_size: int = 32,
        max_iou: float = 0.5,
        tries: int = 50,
        views: tuple[int, int] = (0, 1),
    ) -> None:
        for name, value in (('count', count), ('min_size', min_size), ('tries', tries)):
            if value < 1:
                raise ValueError(f'OverlapBoxes: {name} must be at least 1, got {value}')
        if not 0 < max_iou <= 1:
            raise ValueError(f'OverlapBoxes: max_iou must be above 0 and at most 1, got {max_iou}')
        if len(set(views)) != 2 or len(views) != 2:
            raise ValueError(f'OverlapBoxes: views must name two different views, got {tuple(views)}')
        self.count, self.min_size, self.max_iou, self.tries = count, min_size, max_iou, tries
        self.views = tuple(views)

    def choose(self, results: dict, views: list[DrawnView]) -> list[ViewRegions | None]:
        """Draw the boxes; see :class:`MultiView`."""
        check_views('OverlapBoxes: views', self.views, len(views))
        pair = [views[v] for v in self.views]
        for v, view in zip(self.views, pair, strict=True):
            if not view.upright:
                raise ValueError(
                    f'OverlapBoxes: view {v} is warped, and what two such views share is no box; leave warp '
                    'out of its recipe (flip_vertical may stay)'
                )
        shared = overlap(pair[0].box, pair[1].box)
        scale = np.minimum(*(_magnification(view) for view in pair))
        side = ((shared[2:] - shared[:2]) * scale).round()  # below 0 if the views share nothing
        found: list[ViewRegions | None] = [None] * len(views)
        if (side <= self.min_size).any():
            for v, view in zip(self.views, pair, strict=True):
                found[v] = ViewRegions(whole_view(view, self.count), torch.full((self.count,), -1))
            return found
        boxes = self._draw(side.tolist(), results['rng']) / np.tile(scale, 2) + np.tile(shared[:2], 2)
        # As sides are rounded, a box may be up to half a pixel outside the overlap; that part is cut.
        boxes = torch.from_numpy(np.minimum(boxes, np.tile(shared[2:], 2)))
        for v, view in zip(self.views, pair, strict=True):
            found[v] = ViewRegions(place(boxes, view)[0].float(), torch.arange(self.count))
        return found

    def _draw(self, side: list[float], rng: np.random.Generator) -> np.ndarray:
        """(K, 4) in an overlap of ``side``, width and height in whole pixels."""
        kept: list[Box] = []
        for _ in range(self.count):
            kept.append(self._apart(side, kept, rng))
        return np.array(kept)

    def _apart(self, side: list[float], kept: list[Box], rng: np.random.Generator) -> Box:
        """The first draw with an IoU below ``max_iou`` with all of ``kept``, or the one with the smallest."""
        missed = []
        for _ in range(min(self.tries, _SINGLE)):
            box = random_box(side, rng.random((2, 4)).tolist(), self.min_size)
            worst = max((_iou(box, other) for other in kept), default=0.0)
            if worst < self.max_iou:
                return box
            missed.append((worst, box))
        if self.tries > _SINGLE:
            draws = rng.random((2, 4, self.tries - _SINGLE))
            boxes = np.stack(random_box(side, draws, self.min_size), 1)
            worst = iou(boxes, np.array(kept)).max(1)
            apart = np.flatnonzero(worst < self.max_iou)
            least = apart[0] if len(apart) else worst.argmin()
            missed.append((worst[least], tuple(boxes[least].tolist())))
        return min(missed, key=lambda miss: miss[0])[1]

    def __repr__(self) -> str:
        return (
            f'OverlapBoxes(count={self.count}, min_size={self.min_size}, max_iou={self.max_iou}, '
            f'tries={self.tries}, views={self.views})'
        )


def overlap(box: Box, other: Box) -> np.ndarray:
    """Intersection of two boxes, (4,), x1, y1, x2, y2; an end is before its start if it is empty."""
    return np.concatenate([np.maximum(box[:2], other[:2]), np.minimum(box[2:], other[2:])])


def _magnification(view: DrawnView) -> np.ndarray:
    """View pixels per image pixel, (2,) in x, y order."""
    height, width = view.size
    return np.array([width, height]) / np.subtract(view.box[2:], view.box[:2])


def random_box(side: list[float], draws, min_size: int) -> tuple:
    """A box x1, y1, x2, y2 in an overlap of ``side``, from four uniform draws in [0, 1) for each axis.

    A draw is a number, or an array of T numbers for T boxes. Floor is written as ``// 1``, as it works for
    both.
    """
    (x1, x2), (y1, y2) = (_span(s, d, min_size) for s, d in zip(side, draws, strict=True))
    return x1, y1, x2, y2


def _span(side: float, draws, min_size: int) -> tuple:
    """Start and end of a box along an axis of ``side`` pixels."""
    grid, cell, length, offset = draws
    parts = 1 + grid * (side // min_size) // 1
    size = side / parts
    start = cell * parts // 1 * size // 1
    long = min_size + length * (size // 1 - min_size + 1) // 1
    start = start + offset * ((size - long) // 1 + 1) // 1
    return start, start + long


def _iou(box: Box, other: Box) -> float:
    """Intersection over union of two boxes."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    shared = max(width, 0.0) * max(height, 0.0)
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (box, other)]
    return shared / (areas[0] + areas[1] - shared)


def iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union, (N, 4) and (M, 4) -> (N, M)."""
    first, second = boxes[:, None], others[None]
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    shared = sides.clip(min=0).prod(-1)
    areas = [(b[..., 2:] - b[..., :2]).prod(-1) for b in (first, second)]
    return shared / (areas[0] + areas[1] - shared)
