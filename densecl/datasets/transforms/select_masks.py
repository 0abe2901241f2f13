"""``SelectMasks``: masks of objects on the grid of a feature map, drawn for each view."""

import numpy as np
import torch
from torch import Tensor

from densecl.registry import TRANSFORMS
from densecl.structures import Proposals, ViewRegions, cell_centers

from .drawn import DrawnView
from .label_map import label_map
from .selector import WHOLE_IMAGE, place, proposals_of, whole_view


def cell_shares(
    labels: np.ndarray,
    box: tuple[float, float, float, float],
    flipped: bool,
    size: tuple[int, int],
    grid: tuple[int, int],
    count: int,
    warp: Tensor | None = None,
) -> np.ndarray:
    """The share of each cell of a view that belongs to each label.

    The label map is cropped, resized to the view by nearest neighbour, flipped, and averaged over cells, as
    in the official code.

    Args:
        labels: (H, W) integers in [0, count).
        box: the view's crop, x1, y1, x2, y2 in pixels of the map.
        flipped: mirrored left to right.
        size: height and width of the view in pixels.
        grid: h and w, cells of the view.
        count: number of labels; places outside the map have the last label.
        warp: (3, 3) matrix of a warped view, or None.

    Returns:
        float32 (count, h, w), the sum over the labels is 1 in each cell.
    """
    (height, width), (h, w) = size, grid
    if warp is None:
        rows = _nearest(box[1], box[3], height, labels.shape[0])
        columns = _nearest(box[0], box[2], width, labels.shape[1])
        if flipped:
            columns = columns[::-1]
        seen = labels[rows[:, None], columns]
    else:
        seen = _seen_warped(labels, box, flipped, size, warp, count - 1)
    cells = (np.arange(height) * h // height)[:, None] * w + np.arange(width) * w // width
    counts = np.bincount((seen * (h * w) + cells).ravel(), minlength=count * h * w)
    shares = counts.reshape(count, h * w) / np.bincount(cells.ravel(), minlength=h * w)
    return shares.reshape(count, h, w).astype(np.float32)


def _seen_warped(labels: np.ndarray, box, flipped: bool, size, warp: Tensor, outside: int) -> np.ndarray:
    """(height, width), the label at the centre of each pixel of a warped view."""
    boxes = torch.tensor([box], dtype=torch.float64)
    centres = cell_centers(boxes, torch.tensor([flipped]), size, warp[None])[0].numpy()
    x, y = np.floor(centres).astype(np.int64).T
    inside = (x >= 0) & (y >= 0) & (x < labels.shape[1]) & (y < labels.shape[0])
    found = labels[y.clip(0, labels.shape[0] - 1), x.clip(0, labels.shape[1] - 1)]
    return np.where(inside, found, outside).reshape(size)


def _nearest(start: float, end: float, pixels: int, limit: int) -> np.ndarray:
    """For each of ``pixels`` pixels between two coordinates, the source pixel that contains its centre."""
    centres = start + (np.arange(pixels) + 0.5) * (end - start) / pixels
    return np.clip(np.floor(centres).astype(np.int64), 0, limit - 1)


@TRANSFORMS.register_module()
class SelectMasks:
    """Draw K masks of each view on a grid (DetCon, Hénaff et al., 2021, section 3, and the official code).
    A selector of :class:`MultiView`.

    A cell belongs to the mask with the largest share of it. K masks are drawn uniformly with replacement from
    the masks that have a cell, separately in each view; equal ids mean the same mask. The area without a mask
    competes for cells, but is never drawn; Felzenszwalb's masks cover the whole image. If an image has no
    masks, or a view shows none, the whole view is one mask with the id ``WHOLE_IMAGE``.

    Args:
        count: K.
        grid: side, or height and width, of the grid of the level that the head reads (7 for C5 of a view with
            224 px).
        hard: each cell belongs to one mask. Otherwise a mask has its share of every cell, and a mask of any
            size can be drawn.

    Raises:
        ValueError: ``count`` or ``grid`` is below 1; when called, proposals without masks, or a view with
            fewer pixels than cells.
    """

    def __init__(self, count: int = 16, grid: int | tuple[int, int] = 7, hard: bool = True) -> None:
        self.grid = (grid, grid) if isinstance(grid, int) else tuple(grid)
        if count < 1 or len(self.grid) != 2 or min(self.grid) < 1:
            raise ValueError(
                f'{type(self).__name__}: count must be at least 1 and grid a side or (height, width) of at '
                f'least 1, got {count!r} and {grid!r}'
            )
        self.count, self.hard = count, hard

    def choose(self, results: dict, views: list[DrawnView]) -> list[ViewRegions]:
        """Draw the masks of each view; see :class:`MultiView`."""
        proposals, labels = self._labels(results)
        return [self._of_view(proposals, labels, view, results['rng']) for view in views]

    def _labels(self, results: dict) -> tuple[Proposals, np.ndarray | None]:
        """The proposals, and for each pixel the proposal it belongs to; None if there are no proposals."""
        name = type(self).__name__
        proposals = proposals_of(results, name)
        if len(proposals) and proposals.masks is None:
            raise ValueError(
                f'{name} needs masks, and the proposals of {results.get("path", "the image")!r} are '
                "boxes alone; take a provider of masks, such as proposals=dict(type='Felzenszwalb')"
            )
        if not len(proposals):
            return proposals, None
        labels = label_map(proposals.masks)
        labels[labels < 0] = len(proposals)  # pixels without a mask
        return proposals, labels

    def _of_view(
        self, proposals: Proposals, labels: np.ndarray | None, view: DrawnView, rng: np.random.Generator
    ) -> ViewRegions:
        drawn = rng.random(self.count)  # the same number of draws for every view
        shares = self._shares(proposals, labels, view)
        present = np.flatnonzero(shares.any((1, 2)))
        if not len(present):
            return self._whole(view)
        rows = present[(drawn * len(present)).astype(np.int64)]
        boxes = torch.from_numpy(proposals.boxes[rows]).double()
        ids, masks = torch.from_numpy(proposals.ids[rows]), torch.from_numpy(shares[rows])
        return ViewRegions(place(boxes, view)[0].float(), ids, masks)

    def _shares(self, proposals: Proposals, labels: np.ndarray | None, view: DrawnView) -> np.ndarray:
        """(P, h, w): the share that each mask has of each cell; 0 or 1 with ``hard``."""
        size = view.size
        if self.grid[0] > size[0] or self.grid[1] > size[1]:
            raise ValueError(
                f'{type(self).__name__}: grid={self.grid} is finer than a view of {size[0]} x {size[1]} '
                'pixels; take the size of the level that the head reads, or a larger view'
            )
        if labels is None:
            return np.zeros((0, *self.grid), np.float32)
        # The masks may have the size of the original, if the image was decoded at a part of its size.
        scale = np.divide(labels.shape, proposals.size)[[1, 0, 1, 0]]
        box = tuple(np.multiply(view.box, scale))
        count = len(proposals) + 1
        shares = cell_shares(labels, box, view.flipped, size, self.grid, count, view.warp)
        if self.hard:
            shares = np.equal(shares.argmax(0), np.arange(count)[:, None, None]).astype(np.float32)
        return shares[:-1]

    def _whole(self, view: DrawnView) -> ViewRegions:
        return ViewRegions(
            whole_view(view, self.count),
            torch.full((self.count,), WHOLE_IMAGE),
            torch.ones(self.count, *self.grid),
        )

    def __repr__(self) -> str:
        return f'{type(self).__name__}(count={self.count}, grid={self.grid}, hard={self.hard})'


@TRANSFORMS.register_module()
class LargestMasks(SelectMasks):
    """All masks of an image on a grid, or the K largest; row k is the same mask in every view.

    The size of a mask is the number of its cells in all views together. A row without a mask has the id -1;
    so have all rows of an image without masks. Nothing is random. A selector of :class:`MultiView`.

    Args:
        count: K.
        grid: see :class:`SelectMasks`.
        hard: each cell belongs to one mask; otherwise a mask has its share of every cell.
    """

    def __init__(self, count: int = 32, grid: int | tuple[int, int] = 7, hard: bool = False) -> None:
        super().__init__(count, grid, hard)

    def choose(self, results: dict, views: list[DrawnView]) -> list[ViewRegions]:
        """Find the masks; see :class:`MultiView`."""
        proposals, labels = self._labels(results)
        shares = [self._shares(proposals, labels, view) for view in views]
        sizes = sum(x.sum((1, 2)) for x in shares)
        rows = np.argsort(-sizes, kind='stable')[: self.count]
        ids = torch.full((self.count,), -1)
        ids[: len(rows)] = torch.from_numpy(proposals.ids[rows])
        found = []
        for view, seen in zip(views, shares, strict=True):
            boxes, masks = torch.zeros(self.count, 4), torch.zeros(self.count, *self.grid)
            boxes[: len(rows)] = place(torch.from_numpy(proposals.boxes[rows]).double(), view)[0].float()
            masks[: len(rows)] = torch.from_numpy(seen[rows])
            found.append(ViewRegions(boxes, ids, masks))
        return found
