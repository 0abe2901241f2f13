"""Cells of random crops, as records."""

import torch

from densecl.structures import Batch, Place, Units


def cells_of(grid, seed, flipped=None, boxes=None, batch=3, frame=200.0):
    """Units of ``batch`` images: relu'd features of 5 channels, projections of 4."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(batch, 2, generator=generator) * 50
    size = 20 + torch.rand(batch, 2, generator=generator) * 60
    boxes = torch.cat([corner, corner + size], 1) if boxes is None else boxes
    drawn = torch.rand(batch, generator=generator) < 0.5
    count = grid[0] * grid[1]
    frame = torch.full((batch, 2), frame) if isinstance(frame, float) else frame
    return Units(
        torch.randn(batch, count, 4, generator=generator),
        place=Place(boxes, drawn if flipped is None else flipped, frame, (32, 32), grid),
        features=torch.randn(batch, count, 5, generator=generator).relu(),
    )


def images(count=3, labels=None):
    """A batch of so many images."""
    return Batch.numbered(torch.arange(count), labels)
