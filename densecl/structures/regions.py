"""Regions of an image, as a view of it shows them."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass
class ViewRegions:
    """K regions of an image as one view shows them; of a batch, every tensor has B in front.

    Attributes:
        boxes: (K, 4) float32, x1, y1, x2, y2 in pixels of the view, cut to it.
        ids: (K,) int64: the same number is the same region in every view; -1 is none.
        masks: (K, h, w) float32 in [0, 1], the share of each cell of a grid over the view that the region
            covers, or None.
    """

    boxes: Tensor
    ids: Tensor
    masks: Tensor | None = None

    @classmethod
    def stack(cls, regions: list['ViewRegions']) -> 'ViewRegions':
        """Stack those of B images; every tensor gains a leading B."""
        parts = ([getattr(r, f.name) for r in regions] for f in fields(cls))
        return cls(*(None if part[0] is None else torch.stack(part) for part in parts))
