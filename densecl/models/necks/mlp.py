"""MLPs on vectors and, as 1x1 convolutions, on every cell of a map."""

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn

from densecl.messages import check_choice
from densecl.registry import MODELS

from .norms import LayerNorm2d

_ACTIVATIONS = dict(ReLU=partial(nn.ReLU, inplace=True), GELU=nn.GELU, Tanh=nn.Tanh)
_CHOICES = dict(
    init=('default', 'normal', 'trunc_normal'),
    last_norm=(False, True, 'plain', 'scale', 'layer'),
    activation=tuple(_ACTIVATIONS),
)


class _Perceptron(nn.Sequential):
    """Layers of the given widths, with an activation (and a norm) between them."""

    form: tuple[str, ...]  # the dimensions of an input
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
            check_choice(f'{name}: {field}', value, _CHOICES[field])
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

    def forward(self, x: Tensor) -> Tensor:
        at = self.form.index('C')
        if x.ndim < len(self.form) or x.shape[at - len(self.form)] != self.channels[0]:
            wanted = ', '.join(str(self.channels[0]) if d == 'C' else d for d in self.form)
            raise ValueError(
                f'{type(self).__name__} with channels={self.channels} maps ({wanted}), but gets '
                f'{tuple(x.shape)}; channels begins with the width of what it reads, and maps of cells need '
                'ConvMLP, vectors MLP'
            )
        return super().forward(x)


@MODELS.register_module()
class MLP(_Perceptron):
    """(N, C) -> (N, D): linear layers with an activation between them.

    Args:
        channels: widths from input to output; two widths make a single linear layer.
        norm: batch normalisation after each hidden layer.
        last_norm: normalisation after the last layer. ``True``: batch norm with scale and shift; ``'scale'``:
            batch norm with scale only, the shift stays 0 (SimCLR); ``'plain'``: batch norm without either
            (SimSiam, MoCo v3); ``'layer'``: layer norm (DIP).
        bias: whether linear layers have a bias, one value for all or one for each; by default only layers
            without a norm after them have one.
        activation: ``'ReLU'``, ``'GELU'`` (DINO) or ``'Tanh'`` (VQ-KD), one value for all hidden layers or
            one for each (SiT).
        init: ``'default'``: torch's (MoCo); ``'normal'``: weights with std 0.01 (DenseCL's code, SimCLR);
            ``'trunc_normal'``: weights with std 0.02 (DINO). The last two set biases to 0.
        last_activation: activation after the last layer; ``'Tanh'`` in SimCSE, as in BERT's pooler.
    """

    form = ('N', 'C')
    layer = nn.Linear
    norm = nn.BatchNorm1d
    layer_norm = nn.LayerNorm


@MODELS.register_module()
class ConvMLP(_Perceptron):
    """(B, C, H, W) -> (B, D, H, W): :class:`MLP` on every cell, as 1x1 convolutions; same arguments."""

    form = ('B', 'C', 'H', 'W')
    layer = staticmethod(partial(nn.Conv2d, kernel_size=1))
    norm = nn.BatchNorm2d
    layer_norm = LayerNorm2d
