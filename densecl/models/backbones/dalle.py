"""The encoder of DALL-E's discrete autoencoder (Ramesh et al., 2021), with the release's parameter names."""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from densecl.registry import MODELS

GROUPS, BLOCKS = 4, 2  # groups, and blocks in each; every group but the last halves height and width


class _Conv(nn.Module):
    """A convolution that keeps height and width; its parameters are called ``w`` and ``b``."""

    def __init__(self, inputs: int, outputs: int, side: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(outputs, inputs, side, side) / (inputs * side**2) ** 0.5)
        self.b = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.w, self.b, padding='same')


class _Block(nn.Module):
    """A residual block: three 3x3 convolutions of a quarter of the width and a 1x1, a ReLU before each."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        widths = [inputs, *[outputs // 4] * 3, outputs]
        steps = OrderedDict()
        for i, (before, after) in enumerate(zip(widths[:-1], widths[1:], strict=True), 1):
            steps[f'relu_{i}'] = nn.ReLU()
            steps[f'conv_{i}'] = _Conv(before, after, 1 if i == 4 else 3)
        self.id_path = nn.Identity() if inputs == outputs else _Conv(inputs, outputs, 1)
        self.res_path = nn.Sequential(steps)

    def forward(self, x: Tensor) -> Tensor:
        return self.id_path(x) + self.res_path(x) / (GROUPS * BLOCKS) ** 2


@MODELS.register_module()
class DALLEEncoder(nn.Module):
    """Images (B, 3, H, W) with values from 0.1 to 0.9 -> logits of the codes, (B, K, H / 8, W / 8).

    Args:
        codes: number K of codes.
        width: width of the first of the four groups, 256 in the release. Each group is twice as wide as the
            one before.
    """

    def __init__(self, codes: int = 8192, width: int = 256) -> None:
        super().__init__()
        steps, before = OrderedDict(input=_Conv(3, width, 7)), width
        for group in range(GROUPS):
            after, parts = width * 2**group, OrderedDict()
            for number in range(1, BLOCKS + 1):
                parts[f'block_{number}'] = _Block(before, after)
                before = after
            if group < GROUPS - 1:
                parts['pool'] = nn.MaxPool2d(2)
            steps[f'group_{group + 1}'] = nn.Sequential(parts)
        steps['output'] = nn.Sequential(OrderedDict(relu=nn.ReLU(), conv=_Conv(before, codes, 1)))
        self.blocks = nn.Sequential(steps)

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)
