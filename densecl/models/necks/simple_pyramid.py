"""A feature pyramid from the single map of a plain vision transformer."""

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from densecl.registry import MODELS

from .norms import LayerNorm2d

#: Strides of the levels that detectors usually have.
USUAL_STRIDES = (4, 8, 16, 32, 64)


@MODELS.register_module()
class SimpleFeaturePyramid(nn.Module):
    """Four levels, strides 4 to 32, from the last map of a ViT (ViTDet: Li et al., ECCV 2022, section 3).

    The map is upsampled x2 by a transposed convolution, and x4 by two with LayerNorm and GELU between them.
    It is used unchanged (x1), and downsampled (/2) by max-pooling. Then each has a 1x1 and a 3x3 convolution,
    both with LayerNorm. Each further level takes every second cell of the level before.

    Args:
        in_channels: channels of the map.
        out_channels: channels of every level.
        num_outs: number of levels, at least 4; mmdet's RPN reads the fifth.
        level: which of the backbone's levels is the map; -2 if the last one is a class token.
        stride: stride of the map, the side of a patch in pixels; see :func:`pyramid_strides`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 256,
        num_outs: int = 5,
        level: int = -1,
        stride: int = 16,
    ) -> None:
        super().__init__()
        if num_outs < 4:
            raise ValueError(f'SimpleFeaturePyramid: num_outs must be at least 4, got {num_outs}')
        self.num_outs, self.level = num_outs, level
        doublings = (_doublings(stride) - i for i in range(4))
        self.stages = nn.ModuleList(nn.Sequential(*_stage(in_channels, n, out_channels)) for n in doublings)

    def forward(self, levels: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Levels with (B, C, h, w) at ``level`` -> (B, D, 4h, 4w), (B, D, 2h, 2w), (B, D, h, w), ..."""
        outs = [stage(levels[self.level]) for stage in self.stages]
        while len(outs) < self.num_outs:
            outs.append(F.max_pool2d(outs[-1], kernel_size=1, stride=2))
        return tuple(outs)


def pyramid_strides(patch: int) -> tuple[float, ...]:
    """Strides of five levels: the patch's side times powers of 2. The first is the one nearest to 4.

    Patches of 8 and 16 px: 4, 8, 16, 32, 64; of 14 px: 3.5, 7, 14, 28, 56.
    """
    finest = patch / 2 ** _doublings(patch)
    return tuple(finest * 2**i for i in range(5))


def _doublings(stride: int) -> int:
    """Number of doublings from the map to the finest level."""
    return round(math.log2(stride / 4))


def _stage(channels: int, doublings: int, out_channels: int) -> list[nn.Module]:
    """Layers that double the map ``doublings`` times (or halve it, if negative), then two convolutions."""
    resized: list[nn.Module] = [nn.MaxPool2d(2**-doublings)] if doublings < 0 else []
    for i in range(doublings):
        resized += [LayerNorm2d(channels), nn.GELU()] if i else []
        resized.append(nn.ConvTranspose2d(channels, channels // 2, kernel_size=2, stride=2))
        channels //= 2
    return [*resized, *_lateral(channels, out_channels)]


def _lateral(inputs: int, outputs: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, 1, bias=False),
        LayerNorm2d(outputs),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        LayerNorm2d(outputs),
    ]
