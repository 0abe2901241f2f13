"""Comparing two views cell by cell: both are interpolated on one grid over their overlap."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from densecl.numerics import full_precision, no_autocast
from densecl.registry import MODELS
from densecl.structures import Match, Place, Units, cell_centers, image_to_view

from .rule import Rule


def overlap_boxes(boxes: Tensor, other_boxes: Tensor) -> tuple[Tensor, Tensor]:
    """The overlap of two crops, both (B, 4), x1, y1, x2, y2 in the same coordinates.

    Returns:
        (B, 4), the rectangles; and (B,) bool, whether they have an area.
    """
    near = torch.maximum(boxes[:, :2], other_boxes[:, :2])
    far = torch.minimum(boxes[:, 2:], other_boxes[:, 2:])
    return torch.cat([near, far], 1), (far > near).all(1)


@no_autocast
def sample_overlap(
    maps: Tensor,
    boxes: Tensor,
    flipped: Tensor,
    other_boxes: Tensor,
    size: tuple[int, int],
    warp: Tensor | None = None,
) -> Tensor:
    """Interpolate maps on a grid over the overlap of two views, as if neither view were mirrored.

    Call it once with the maps of each view: cell (i, j) of both results shows the same place, as the grid has
    ``size`` cells over the overlap. Values between the centres of cells are interpolated linearly, so a
    linear ramp is exact. Beyond the outermost centres they are constant. Each result cell is one value, read
    at its centre: if ``size`` is much coarser than the map's own grid, cells are skipped.

    Args:
        maps: (B, C, H, W); gradients flow back to it.
        boxes, other_boxes: (B, 4), the crops of these and of the other views, x1, y1, x2, y2 in the same
            coordinates, with a positive area.
        flipped: (B,) bool, whether these views were mirrored.
        size: height and width of the result in cells.
        warp: (B, 3, 3), homographies of these views if they are warped, or None.

    Returns:
        (B, C, *size), in float32 or better. Images whose crops do not overlap (see :func:`overlap_boxes`)
        have zeros, without gradient.
    """
    shared, exists = overlap_boxes(boxes, other_boxes)
    centers = cell_centers(shared, torch.zeros_like(flipped), size)  # (B, h*w, 2)
    places = image_to_view(centers, boxes, flipped, (2, 2), warp) - 1  # the view spans [-1, 1]
    places = places.masked_fill(~exists[:, None, None], 0).unflatten(1, size)
    maps = full_precision(maps)
    places = places.to(maps.dtype)
    read = F.grid_sample(maps, places, 'bilinear', padding_mode='border', align_corners=False)
    return read.masked_fill(~exists[:, None, None, None], 0)


@MODELS.register_module()
class SharedGrid(Rule):
    """The same place answers: both views are interpolated on one grid over their overlap (SlotCon).

    Images without overlap do not count. A place does not count if any cell that it is interpolated from is
    not valid (hidden, or not foreground). The interpolated records have vectors, predictions and shares of
    labels, and say which places count. For warped views, the grid lies over the overlap of the boxes around
    them; places outside of a view or of the photo do not count.

    Args:
        size: cells along each side of the grid; None: as many as the query map has. 7 in NeCo and Leopart.
        samples: number of values along each side of a cell, which are averaged. 2 is like RoI pooling of maps
            about twice as fine.
    """

    needs = frozenset({'grid', 'place'})
    one_answer, reads, combines = True, True, False

    def __init__(self, size: int | None = None, samples: int = 1) -> None:
        super().__init__()
        if samples < 1 or (size is not None and size < 1):
            raise ValueError(f'SharedGrid: size and samples must be at least 1, got {size} and {samples}')
        self.size, self.samples = size, samples

    def forward(self, query, key, batch):
        _, exists = overlap_boxes(query.place.crop, key.place.crop)
        grid = query.place.grid if self.size is None else (self.size, self.size)
        count = grid[0] * grid[1]
        index = torch.arange(count, device=exists.device).expand(len(exists), -1)

        valid = exists[:, None].expand(-1, count)
        if query.place.warp is not None or key.place.warp is not None:
            valid = valid & _shown(query.place, key.place, grid)
        for mine, other in ((query, key), (key, query)):
            if mine.valid is not None:
                shares = _rows(mine.valid[..., None].float(), mine.place, other.place, grid, self.samples)
                valid = valid & (shares[..., 0] > 1 - 1e-4)  # all weights are on valid cells, up to rounding

        def read(query: Units, key: Units) -> tuple[Units, Units]:
            return tuple(
                _read(mine, other.place, valid, grid, self.samples)
                for mine, other in ((query, key), (key, query))
            )

        return Match(index, valid=valid, read=read)


def _shown(place: Place, other: Place, grid: tuple[int, int]) -> Tensor:
    """Which centres of the common grid lie in both views and in the photo, (B, N) bool."""
    shared, _ = overlap_boxes(place.crop, other.crop)
    centers = cell_centers(shared, torch.zeros_like(place.flipped), grid)
    inside = ((centers >= 0) & (centers <= place.frame[:, None])).all(-1)
    return inside & place.shows(centers) & other.shows(centers)


def _read(units: Units, other: Place, valid: Tensor, grid: tuple[int, int], samples: int) -> Units:
    def rows(vectors: Tensor) -> Tensor:
        return _rows(vectors, units.place, other, grid, samples)

    linear = {n: rows(x) for n in ('vectors', 'predicted', 'labels') if (x := getattr(units, n)) is not None}
    bare = dict.fromkeys(('ids', 'place', 'features', 'embeddings', 'codes', 'others', 'cells'))
    return replace(units, **linear, **bare, valid=valid, whole=units, read=rows)


def _rows(vectors: Tensor, place: Place, other: Place, grid: tuple[int, int], samples: int) -> Tensor:
    """Interpolate values of a grid's M cells on the common grid, (B, M, E) -> (B, N, E)."""
    maps = vectors.transpose(1, 2).unflatten(2, place.grid)
    fine = tuple(side * samples for side in grid)
    read = sample_overlap(maps, place.crop, place.flipped, other.crop, fine, place.warp)
    return F.avg_pool2d(read, samples).flatten(2).transpose(1, 2)
