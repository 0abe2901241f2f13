"""Low-rank adapters (LoRA, Hu et al., 2021): a trained transformer learns a small addition to its layers."""

import re

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_DOWN, _UP = '.low_rank_down', '.low_rank_up'


class LowRankLinear(nn.Linear):
    """A linear layer whose weight stays, and to which the product of two thin matrices is added.

    ``weight + low_rank_up @ low_rank_down``: (out, rank) by (rank, in). The first is zero at the beginning,
    so that the layer computes what it did (section 4.1). The paper's scale alpha / rank is 1.
    """

    @classmethod
    def adapt(cls, layer: nn.Linear, rank: int) -> None:
        """Make a linear layer such a one, in place; its other parameters need no gradient any more."""
        layer.__class__ = cls
        layer.requires_grad_(False)
        layer.low_rank_down = nn.Parameter(layer.weight.new_empty(rank, layer.in_features))
        layer.low_rank_up = nn.Parameter(layer.weight.new_zeros(layer.out_features, rank))
        nn.init.kaiming_uniform_(layer.low_rank_down, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """As a linear layer; the addition takes the short way, through ``rank`` channels."""
        return super().forward(x) + F.linear(F.linear(x, self.low_rank_down), self.low_rank_up)


def add_low_rank(backbone: nn.Module, rank: int, layers: str = r'attn|mlp|ffn') -> None:
    """Freeze a backbone and let the linear layers in its blocks learn an addition of low rank.

    Args:
        backbone: a vision transformer.
        rank: channels of the addition.
        layers: regular expression; of the linear layers those are adapted whose name has a match.

    Raises:
        ValueError: the rank is not positive, or no linear layer has such a name.
    """
    if rank < 1:
        raise ValueError(f'model.low_rank must be the rank of the adapters, 1 or more, got {rank}')
    found = [
        layer
        for name, layer in backbone.named_modules()
        if type(layer) is nn.Linear and re.search(layers, name)
    ]
    if not found:
        raise ValueError(
            f'model.low_rank={rank} adapts the linear layers of a transformer, of which '
            f'{type(backbone).__name__} has none (names with {layers}): leave it out'
        )
    backbone.requires_grad_(False)
    for layer in found:
        LowRankLinear.adapt(layer, rank)


def without_low_rank(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that the plain network has too."""
    return {name: tensor for name, tensor in tensors.items() if not name.endswith((_UP, _DOWN))}


def fold_low_rank(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with every addition in its layer's weight, under the names of the plain network."""
    plain = without_low_rank(tensors)
    for name in tensors.keys() - plain.keys():
        if name.endswith(_UP):
            layer = name.removesuffix(_UP)
            weight, down = plain[f'{layer}.weight'], tensors[f'{layer}{_DOWN}']
            plain[f'{layer}.weight'] = (weight.float() + tensors[name].float() @ down.float()).to(
                weight.dtype
            )
    return plain


def load_folded(backbone: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Load a folded state dict; additions that the backbone has become zero.

    Raises:
        RuntimeError: other tensors are missing or not known, or shapes differ.
    """
    own = backbone.state_dict()
    factors = {name: torch.zeros_like(own[name]) for name in own.keys() - without_low_rank(own).keys()}
    backbone.load_state_dict({**factors, **tensors})
