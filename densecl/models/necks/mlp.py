"""Multi-layer perceptrons on vectors and, as 1x1 convolutions, on every cell of a map."""

from collections.abc import Sequence

from torch import nn

from densecl.registry import MODELS


class _Perceptron(nn.Sequential):
    """Layers of the given widths with (norm and) ReLU between them."""

    layer: type[nn.Module]
    norm: type[nn.Module]

    def __init__(
        self,
        channels: Sequence[int],
        norm: bool = False,
        last_norm: bool = False,
        bias: bool | None = None,
        init: str = 'default',
    ) -> None:
        if len(channels) < 2:
            raise ValueError(f'{type(self).__name__}: channels needs input and output, got {channels}')
        if init not in ('default', 'normal'):
            raise ValueError(
                f"{type(self).__name__}: init must be 'default' or 'normal', got {init!r}"
            )
        steps: list[nn.Module] = []
        pairs = list(zip(channels[:-1], channels[1:], strict=True))
        for i, (inputs, outputs) in enumerate(pairs):
            last = i == len(pairs) - 1
            normed = last_norm if last else norm
            steps.append(self.layer(inputs, outputs, bias=not normed if bias is None else bias))
            if normed:
                steps.append(self.norm(outputs))
            if not last:
                steps.append(nn.ReLU(inplace=True))
        super().__init__(*steps)
        self.channels = tuple(channels)
        if init == 'normal':
            for module in self:
                if isinstance(module, self.layer):
                    nn.init.normal_(module.weight, std=0.01)
                    if module.bias is not None:
                        nn.init.zeros_(module.bias)


@MODELS.register_module()
class MLP(_Perceptron):
    """(N, C) -> (N, D): linear layers with ReLU between them.

    Args:
        channels: widths from the input to the output; two of them make a single linear layer.
        norm: batch normalisation after each hidden layer.
        last_norm: batch normalisation after the last layer.
        bias: bias in the linear layers; by default exactly where no normalisation follows.
        init: ``'default'`` is torch's (MoCo); ``'normal'`` draws weights with std 0.01 and zeroes biases
            (the global branch of DenseCL's code).
    """

    layer = nn.Linear
    norm = nn.BatchNorm1d


class _Conv1x1(nn.Conv2d):
    def __init__(self, inputs: int, outputs: int, bias: bool) -> None:
        super().__init__(inputs, outputs, kernel_size=1, bias=bias)


@MODELS.register_module()
class ConvMLP(_Perceptron):
    """(B, C, H, W) -> (B, D, H, W): :class:`MLP` on every cell, as 1x1 convolutions; same arguments."""

    layer = _Conv1x1
    norm = nn.BatchNorm2d
