"""Pixel propagation: each cell becomes a mixture of similar cells (PixPro)."""

from torch import Tensor, nn

from densecl.messages import check_choice
from densecl.numerics import no_autocast, unit
from densecl.registry import MODELS

from .mlp import ConvMLP


@no_autocast
def propagate(features: Tensor, values: Tensor, power: float) -> Tensor:
    """``y_i = sum_j max(cos(x_i, x_j), 0)^power v_j / |v_j|``, normalised (PixPro, eq. 3 and 4).

    There is no softmax, and no division by the sum of the similarities: the last normalisation makes it
    unnecessary. ``features`` x are (B, C, H, W), ``values`` v are (B, D, H, W). The larger ``power``, the
    more the most similar cells count. Returns unit vectors (B, D, H, W), in float32 or better.
    """
    cells = unit(features, 1).flatten(2)  # (B, C, N)
    similarity = (cells.transpose(1, 2) @ cells).clamp(min=0)
    if power < 1:  # the slope of x^p at 0 is infinite; the same constant as in the official code
        similarity = similarity + 1e-6
    smooth = unit(values, 1).flatten(2) @ similarity.pow(power)  # the similarity is symmetric
    return unit(smooth, 1).unflatten(2, features.shape[2:])


@MODELS.register_module()
class PixelPropagation(nn.Module):
    """The pixel propagation module: each cell becomes a mixture of similar cells (PixPro, Xie et al., 2021).

    (B, C, H, W) -> (B, C, H, W) unit vectors. It is PixPro's predictor, on the online side only.

    Args:
        channels: C.
        power: exponent p of the similarity, 2 in PixPro.
        layers: number of layers of the value transform. 0: none; 1: a 1x1 convolution with bias (PixPro); 2:
            an MLP with batch norm between its layers.
    """

    def __init__(self, channels: int = 256, power: float = 2.0, layers: int = 1) -> None:
        super().__init__()
        if power <= 0:
            raise ValueError(f'PixelPropagation: power must be positive, got {power}')
        check_choice('PixelPropagation: layers', layers, (0, 1, 2))
        self.power = power
        widths = (channels,) * (layers + 1)
        self.value = ConvMLP(widths, norm=True, bias=True) if layers else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        return propagate(maps, self.value(maps), self.power)
