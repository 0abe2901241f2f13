"""Any region of the overlap of two views is a positive pair: random boxes, and where they lie (SCRL)."""

import torch
from torch import Tensor

from densecl.structures import boxes_to_view

from .overlap import overlap_boxes


@torch.no_grad()
def draw_regions(
    boxes: Tensor,
    other_boxes: Tensor,
    size: tuple[int, int],
    other_size: tuple[int, int],
    count: int = 10,
    min_size: int = 32,
    max_iou: float = 0.5,
    tries: int = 50,
) -> tuple[Tensor, Tensor]:
    """Random boxes in the part of the image that two views share (SCRL, Roh et al., 2021).

    All lengths are whole pixels of the view that magnifies least, per axis. The overlap is divided into a
    random grid whose cells are at least ``min_size`` long; the box lies in a random cell, its sides even
    between ``min_size`` and the cell's. A box that overlaps an earlier one too much is drawn again.

    The draws come from torch's global generator on the CPU, the same number whatever the boxes.

    Args:
        boxes: (B, 4), the crops of one view, x1, y1, x2, y2 in pixels of the image.
        other_boxes: (B, 4), of the other.
        size: height and width of the one view in pixels.
        other_size: likewise of the other.
        count: R, boxes of an image.
        min_size: least side.
        max_iou: intersection over union with every earlier box of the image stays below this.
        tries: draws for a box; if all of them overlap too much, the one that does so least is taken (the
            official code takes the last).

    Returns:
        float64 (B, R, 4) in pixels of the image, and bool (B,): whether the overlap is larger than
        ``min_size`` on both sides. Where it is not, the boxes mean nothing.
    """
    boxes, other_boxes = boxes.double(), other_boxes.double()
    shared, exists = overlap_boxes(boxes, other_boxes)
    scale = torch.minimum(_magnification(boxes, size), _magnification(other_boxes, other_size))
    side = ((shared[:, 2:] - shared[:, :2]) * scale).round()  # (B, 2)
    enough = exists & (side > min_size).all(1)
    side = side.clamp(min=min_size)[:, None, None]
    draws = torch.rand(len(boxes), count, tries, 4, 2, dtype=torch.float64).to(boxes.device)
    candidates = _draw(side, draws.unbind(3), min_size)  # (B, R, tries, 4)
    regions = _apart(candidates, max_iou) / scale.repeat(1, 2)[:, None] + shared[:, None, :2].repeat(1, 1, 2)
    near, far = shared[:, None, :2].repeat(1, 1, 2), shared[:, None, 2:].repeat(1, 1, 2)
    # Sides are rounded: up to half a pixel would lie outside.
    return torch.minimum(torch.maximum(regions, near), far), enough


def _magnification(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """View pixels per image pixel, (B, 2) in x, y order."""
    return boxes.new_tensor([size[1], size[0]]) / (boxes[:, 2:] - boxes[:, :2])


def _draw(side: Tensor, draws: tuple[Tensor, ...], min_size: int) -> Tensor:
    """Boxes (..., 4) in an overlap of ``side`` (..., 2), from four even draws of [0, 1) for each axis."""
    parts = 1 + (draws[0] * (side / min_size).floor()).floor()
    cell = side / parts
    corner = ((draws[1] * parts).floor() * cell).floor()
    length = min_size + (draws[2] * (cell.floor() - min_size + 1)).floor()
    corner = corner + (draws[3] * ((cell - length).floor() + 1)).floor()
    return torch.cat([corner, corner + length], -1)


def _apart(candidates: Tensor, max_iou: float) -> Tensor:
    """(B, R, T, 4) -> (B, R, 4): of each T the first that is apart from the boxes before it."""
    kept = candidates[:, :1, 0]
    for options in candidates[:, 1:].unbind(1):  # (B, T, 4)
        worst = iou(options, kept).amax(-1)
        choice = worst.masked_fill(worst < max_iou, -1).argmin(1)  # the first, or the least overlapping
        taken = options.gather(1, choice[:, None, None].expand(-1, 1, 4))
        kept = torch.cat([kept, taken], 1)
    return kept


def iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union, (B, N, 4) and (B, M, 4) -> (B, N, M)."""
    first, second = boxes[:, :, None], others[:, None]
    sides = torch.minimum(first[..., 2:], second[..., 2:]) - torch.maximum(first[..., :2], second[..., :2])
    shared = sides.clamp(min=0).prod(-1)
    areas = [(x[..., 2:] - x[..., :2]).prod(-1) for x in (first, second)]
    return shared / (areas[0] + areas[1] - shared)


def regions_in_view(regions: Tensor, boxes: Tensor, flipped: Tensor, size: tuple[int, int]) -> Tensor:
    """Where boxes of the image lie in a view of it.

    Args:
        regions: (B, R, 4), x1, y1, x2, y2 in pixels of the image.
        boxes: (B, 4), the crops.
        flipped: (B,) bool, whether the views were mirrored.
        size: height and width of the view in pixels.

    Returns:
        (B, R, 4), x1, y1, x2, y2 in pixels of the view, cut to it.
    """
    return boxes_to_view(regions, boxes, flipped, size)[0]
