"""A feature pyramid from the single map of a plain vision transformer."""

from collections.abc import Sequence
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from densecl.registry import MODELS


@MODELS.register_module('LN2d')
class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of each cell of a (B, C, H, W) map."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__(channels, eps)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


@MODELS.register_module()
class SimpleFeaturePyramid(nn.Module):
    """Strides 4, 8, 16, 32 from a ViT's last map of stride 16 (ViTDet: Li et al., ECCV 2022, section 3).

    x4 by two transposed convolutions with LayerNorm and GELU between them, x2 by one, x1 as it is,
    /2 by max-pooling; then, for each, a 1x1 and a 3x3 convolution, both with LayerNorm. Further levels
    take every second cell of the one before.

    Args:
        in_channels: channels of the map.
        out_channels: channels of every level.
        num_outs: number of levels, at least 4; the fifth is what mmdet's RPN reads.
        level: which of the backbone's levels is the map; -2 where a class token comes last.
    """

    def __init__(self, in_channels: int, out_channels: int = 256, num_outs: int = 5, level: int = -1) -> None:
        super().__init__()
        if num_outs < 4:
            raise ValueError(f'SimpleFeaturePyramid: num_outs must be at least 4, got {num_outs}')
        self.num_outs, self.level = num_outs, level
        half, quarter = in_channels // 2, in_channels // 4
        double = partial(nn.ConvTranspose2d, kernel_size=2, stride=2)
        resized = [
            [double(in_channels, half), LayerNorm2d(half), nn.GELU(), double(half, quarter)],
            [double(in_channels, half)],
            [],
            [nn.MaxPool2d(2)],
        ]
        widths = [quarter, half, in_channels, in_channels]
        self.stages = nn.ModuleList(
            nn.Sequential(*resize, *_lateral(width, out_channels))
            for resize, width in zip(resized, widths, strict=True)
        )

    def forward(self, levels: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Levels with (B, C, h, w) at ``level`` -> (B, D, 4h, 4w), (B, D, 2h, 2w), (B, D, h, w), ..."""
        outs = [stage(levels[self.level]) for stage in self.stages]
        while len(outs) < self.num_outs:
            outs.append(F.max_pool2d(outs[-1], kernel_size=1, stride=2))
        return tuple(outs)


def _lateral(inputs: int, outputs: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, 1, bias=False),
        LayerNorm2d(outputs),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        LayerNorm2d(outputs),
    ]
