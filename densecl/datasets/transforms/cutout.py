"""``Cutout``: erases a part of each object."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass
class Cutout:
    """Draws a part of each object to erase.

    Attributes:
        views: the views concerned, counted from 0.
        prob: probability for each box.
        area: lower and upper share of the box's area, uniform.
    """

    views: tuple[int, ...] = (1, 2)
    prob: float = 0.5
    area: tuple[float, float] = (0.1, 0.3)

    def __post_init__(self) -> None:
        low, high = self.area
        if not (0 <= self.prob <= 1 and 0 < low <= high <= 1):
            raise ValueError(
                'cutout: prob must be in [0, 1] and area (low, high) with 0 < low <= high <= 1, '
                f'got {self.prob} and {self.area}'
            )

    def draw(self, boxes: Tensor, rng: np.random.Generator) -> Tensor:
        """The parts to erase of boxes (K, 4): (K, 4) in the same pixels; area 0 if nothing is erased."""
        u = torch.from_numpy(rng.random((len(boxes), 4)))
        corner, sides = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
        low, high = self.area
        area = sides.prod(1) * (low + u[:, 1] * (high - low))
        tiny = torch.finfo(sides.dtype).tiny  # an object that is not visible has sides of 0
        # A square; if a side of the box is too short for it, that side.
        width = torch.minimum(torch.maximum(area.sqrt(), area / sides[:, 1].clamp(min=tiny)), sides[:, 0])
        height = area / width.clamp(min=tiny)
        size = torch.stack([width, height], 1) * (u[:, :1] < self.prob)
        near = corner + u[:, 2:] * (sides - size)
        return torch.cat([near, near + size], 1)
