"""Stochastic depth that drops the same number of images in each block."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class SubsetDropPath(nn.Module):
    """Keep the branch for n random images, multiplied by B / n; set it to 0 for the other images of a batch.

    n is ``int(B * (1 - drop_prob))``, but at least 1. DINOv2, DINOv3 and CAPI do the same. Their codes do not
    compute the branch of the other images; here it is computed, then dropped.

    Args:
        drop_prob: share of the images that are dropped, in [0, 1).
    """

    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        if not 0 <= drop_prob < 1:
            raise ValueError(f'SubsetDropPath: drop_prob must be in [0, 1), got {drop_prob}')
        self.drop_prob = float(drop_prob)

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> (B, ...); in eval mode unchanged."""
        if not self.training or not self.drop_prob:
            return x
        kept = max(1, int(len(x) * (1 - self.drop_prob)))
        chosen = torch.rand(len(x), device=x.device).argsort()[:kept]
        factors = x.new_zeros(len(x)).index_fill(0, chosen, len(x) / kept)
        return x * factors.view(-1, *[1] * (x.ndim - 1))


def use_equal_drop_path(blocks: Iterable[nn.Module], drop_prob: float) -> None:
    """Give all timm blocks the same stochastic depth, with separate draws for attention and MLP.

    If ``drop_prob`` is at most 0.1, each image is drawn independently, as in DINOv2's code; if it is larger,
    :class:`SubsetDropPath` is used.
    """
    from timm.layers import DropPath

    kind = SubsetDropPath if drop_prob > 0.1 else DropPath
    for block in blocks:
        block.drop_path1, block.drop_path2 = kind(drop_prob), kind(drop_prob)
