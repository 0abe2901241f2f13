"""The position of each cell in its view, as a target."""

import torch
from torch import Tensor, nn

from densecl.numerics import full_precision
from densecl.registry import MODELS


@MODELS.register_module()
class Positions(nn.Module):
    """(B, C, H, W) images -> one level (B, 2, H / p, W / p): row and column of each cell in [0, 1].

    The first row (column) is 0, the last is 1.

    Args:
        patch: side p of a cell in pixels.
    """

    def __init__(self, patch: int) -> None:
        super().__init__()
        self.patch = patch

    def forward(self, images: Tensor) -> tuple[Tensor]:
        h, w = (-(-side // self.patch) for side in images.shape[2:])  # rounded up: a partial patch counts
        like = dict(dtype=full_precision(images[:0]).dtype, device=images.device)
        rows, columns = (torch.arange(n, **like) / max(n - 1, 1) for n in (h, w))
        places = torch.stack([rows[:, None].expand(h, w), columns.expand(h, w)])
        return (places.expand(len(images), -1, -1, -1),)
