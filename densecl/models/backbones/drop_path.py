"""Stochastic depth that leaves out exactly as many images in each block."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class SubsetDropPath(nn.Module):
    """A random ``int(B * (1 - drop_prob))`` images, at least 1, keep the branch, times B / their number.

    DINOv2's, DINOv3's and CAPI's, whose codes save the work for the others; here it is done and dropped.

    Args:
        drop_prob: share of the images that do without, in [0, 1).
    """

    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        if not 0 <= drop_prob < 1:
            raise ValueError(f'SubsetDropPath: drop_prob must be in [0, 1), got {drop_prob}')
        self.drop_prob = float(drop_prob)

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> (B, ...)."""
        if not self.training or not self.drop_prob:
            return x
        kept = max(1, int(len(x) * (1 - self.drop_prob)))
        chosen = torch.rand(len(x), device=x.device).argsort()[:kept]
        factors = x.new_zeros(len(x)).index_fill(0, chosen, len(x) / kept)
        return x * factors.view(-1, *[1] * (x.ndim - 1))


def use_equal_drop_path(blocks: Iterable[nn.Module], drop_prob: float) -> None:
    """Give all timm blocks the same stochastic depth, attention and MLP each its own draw.

    Up to 0.1 each image is drawn by itself, as in DINOv2's code.
    """
    from timm.layers import DropPath

    kind = SubsetDropPath if drop_prob > 0.1 else DropPath
    for block in blocks:
        block.drop_path1, block.drop_path2 = kind(drop_prob), kind(drop_prob)
