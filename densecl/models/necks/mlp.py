"""Multi-layer perceptrons on vectors and, as 1x1 convolutions, on every cell of a map."""

from collections.abc import Callable, Sequence
from functools import partial

from torch import nn

from densecl.registry import MODELS

from .simple_pyramid import LayerNorm2d

_ACTIVATIONS = dict(ReLU=partial(nn.ReLU, inplace=True), GELU=nn.GELU, Tanh=nn.Tanh)
_CHOICES = dict(
    init=('default', 'normal', 'trunc_normal'),
    last_norm=(False, True, 'plain', 'scale', 'layer'),
    activation=tuple(_ACTIVATIONS),
)


class _Perceptron(nn.Sequential):
    """Layers of the given widths with (norm and) an activation between them."""

    layer: Callable[..., nn.Module]
    norm: type[nn.Module]
    layer_norm: type[nn.Module]

    def __init__(
        self,
        channels: Sequence[int],
        norm: bool = False,
        last_norm: bool | str = False,
        bias: bool | Sequence[bool] | None = None,
        activation: str | Sequence[str] = 'ReLU',
        init: str = 'default',
        last_activation: str | None = None,
    ) -> None:
        name = type(self).__name__
        if len(channels) < 2:
            raise ValueError(f'{name}: channels needs input and output, got {channels}')
        count = len(channels) - 1
        activations = [activation] * (count - 1) if isinstance(activation, str) else list(activation)
        given = [('init', init), ('last_norm', last_norm), *(('activation', each) for each in activations)]
        given += [('activation', last_activation)] if last_activation else []
        for field, value in given:
            if value not in _CHOICES[field]:
                raise ValueError(f'{name}: {field} must be one of {_CHOICES[field]}, got {value!r}')
        if len(activations) != count - 1:
            raise ValueError(
                f'{name}: activation needs one value between each two of {count} layers, got {activation}'
            )
        normed = [bool(norm)] * (count - 1) + [bool(last_norm)]
        if bias is None:
            bias = [not n for n in normed]
        elif isinstance(bias, bool):
            bias = [bias] * count
        if len(bias) != count:
            raise ValueError(f'{name}: bias needs {count} values for {count} layers, got {bias}')
        steps: list[nn.Module] = []
        for i, (inputs, outputs) in enumerate(zip(channels[:-1], channels[1:], strict=True)):
            last = i == count - 1
            steps.append(self.layer(inputs, outputs, bias=bias[i]))
            if last and last_norm == 'layer':
                steps.append(self.layer_norm(outputs, eps=1e-6))
            elif normed[i]:
                steps.append(self.norm(outputs, affine=not last or last_norm != 'plain'))
                if last and last_norm == 'scale':
                    steps[-1].bias.requires_grad_(False)
            chosen = last_activation if last else activations[i]
            if chosen is not None:
                steps.append(_ACTIVATIONS[chosen]())
        super().__init__(*steps)
        self.channels = tuple(channels)
        for layer in self:
            if init != 'default' and isinstance(layer, nn.Linear | nn.Conv2d):
                if init == 'normal':
                    nn.init.normal_(layer.weight, std=0.01)
                else:
                    nn.init.trunc_normal_(layer.weight, std=0.02)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)


@MODELS.register_module()
class MLP(_Perceptron):
    """(N, C) -> (N, D): linear layers with an activation between them.

    Args:
        channels: widths from the input to the output; two of them make a single linear layer.
        norm: batch normalisation after each hidden layer.
        last_norm: batch normalisation after the last layer: ``True`` with scale and shift, ``'scale'`` with a
            scale only (SimCLR; the shift stays 0), ``'plain'`` without either (SimSiam, MoCo v3);
            ``'layer'``: layer normalisation in its place (DIP).
        bias: bias in the linear layers, for all of them or one by one; by default exactly where no
            normalisation follows.
        activation: ``'ReLU'``, ``'GELU'`` (DINO) or ``'Tanh'`` (VQ-KD), for all hidden layers or one by one
            (SiT).
        init: ``'default'`` is torch's (MoCo); ``'normal'`` draws weights with std 0.01 (DenseCL's code,
            SimCLR), ``'trunc_normal'`` with std 0.02 (DINO); both zero the biases.
        last_activation: behind the last layer; ``'Tanh'`` in SimCSE, as in BERT's pooler.
    """

    layer = nn.Linear
    norm = nn.BatchNorm1d
    layer_norm = nn.LayerNorm


@MODELS.register_module()
class ConvMLP(_Perceptron):
    """(B, C, H, W) -> (B, D, H, W): :class:`MLP` on every cell, as 1x1 convolutions; same arguments."""

    layer = staticmethod(partial(nn.Conv2d, kernel_size=1))
    norm = nn.BatchNorm2d
    layer_norm = LayerNorm2d


@MODELS.register_module()
class FirstChannels(nn.Module):
    """(N, C) -> (N, D), the first D channels: a part of the representation itself is contrasted, no projector
    is trained (DirectCLR, Jing et al., 2022, section 5).

    Args:
        dimensions: D, 360 of ResNet-50's 2048 in the paper.
    """

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.dimensions = dimensions

    def forward(self, x):
        """Cut; the remaining channels get no gradient from here."""
        if x.shape[1] < self.dimensions:
            raise ValueError(f'FirstChannels: wanted {self.dimensions} of {x.shape[1]} channels')
        return x[:, : self.dimensions]
