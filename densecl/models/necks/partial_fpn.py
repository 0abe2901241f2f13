"""A feature pyramid with only the levels that a pretraining task reads."""

from collections import OrderedDict
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from densecl.registry import MODELS


@MODELS.register_module()
class PartialFPN(nn.Module):
    """Some outputs of a feature pyramid (Lin et al., 2017), as ReSim trains them (Xiao et al., 2021).

    Each level in ``levels`` has a lateral 1x1 and an output 3x3 convolution. A higher level has only a
    lateral convolution, for the top-down path. A pyramid with all outputs would have parameters that get no
    gradient, which is an error in DistributedDataParallel.

    Parameters have the names of a stock ``FPN`` with the same ``in_channels``, for example
    ``lateral_convs.1.conv.weight`` and ``fpn_convs.1.conv.weight`` (``.bn`` with ``norm``). So a detector can
    load them by name; its other levels start untrained.

    Args:
        in_channels: channels of each level of the backbone, lowest first. Levels below the first of
            ``levels`` are listed, so that names agree, but not read.
        out_channels: channels of every output.
        levels: positions of the outputs in ``in_channels``; ReSim's P3 and P4 are (1, 2) of C2 .. C5.
        norm: batch normalisation after each convolution, which then has no bias; ReSim's option
            ``--fpn-bn`` (which has no bias either).
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int = 256,
        levels: Sequence[int] = (1, 2),
        norm: bool = False,
    ) -> None:
        super().__init__()
        self.in_channels = tuple(in_channels)
        self.levels = tuple(sorted(levels))
        if not levels or self.levels[0] < 0 or self.levels[-1] >= len(in_channels):
            raise ValueError(
                f'PartialFPN: levels must be positions in in_channels, 0 to {len(in_channels) - 1}, '
                f'got {tuple(levels)}'
            )
        read = range(self.levels[0], len(self.in_channels))
        laterals = {str(i): _conv(self.in_channels[i], out_channels, 1, norm) for i in read}
        self.lateral_convs = nn.ModuleDict(laterals)
        outputs = {str(i): _conv(out_channels, out_channels, 3, norm) for i in self.levels}
        self.fpn_convs = nn.ModuleDict(outputs)

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Levels (B, C_i, H_i, W_i) -> the outputs of ``levels``, lowest first, then the last input.

        The last input is not changed; it is for heads that read the backbone (level -1).
        """
        if len(inputs) != len(self.in_channels):
            raise ValueError(
                f'PartialFPN: in_channels names {len(self.in_channels)} levels, the backbone gives '
                f'{len(inputs)}; set backbone.out_indices and in_channels to the same levels'
            )
        outputs, merged = [], None
        for i in reversed(range(self.levels[0], len(inputs))):
            lateral = self.lateral_convs[str(i)](inputs[i])
            if merged is not None:
                lateral = lateral + F.interpolate(merged, size=lateral.shape[2:], mode='nearest')
            merged = lateral
            if i in self.levels:
                outputs.insert(0, self.fpn_convs[str(i)](merged))
        return (*outputs, inputs[-1])


def _conv(inputs: int, outputs: int, kernel: int, norm: bool) -> nn.Sequential:
    """A convolution (and batch norm), with the names of mmcv's ``ConvModule``."""
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=not norm)
    nn.init.kaiming_uniform_(conv.weight, a=1)  # detectron2's and ReSim's "Xavier fill"
    if norm:
        return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(outputs)))
    nn.init.zeros_(conv.bias)
    return nn.Sequential(OrderedDict(conv=conv))
