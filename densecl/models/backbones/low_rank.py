"""Low-rank adapters (LoRA, Hu et al., 2021): a trained transformer learns small additions to its layers."""

import re

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_DOWN, _UP = '.low_rank_down', '.low_rank_up'


class LowRankLinear(nn.Linear):
    """A linear layer with a frozen weight, to which the product of two thin matrices is added.

    The weight in use is ``weight + low_rank_up @ low_rank_down``, with shapes (out, rank) and (rank, in).
    ``low_rank_up`` starts at zero, so at first the layer computes what it did before (section 4.1). The
    paper's scale alpha / rank is 1 here.
    """

    @classmethod
    def adapt(cls, layer: nn.Linear, rank: int) -> None:
        """Turn a linear layer into this class, in place, and freeze its weight and bias."""
        layer.__class__ = cls
        layer.requires_grad_(False)
        layer.low_rank_down = nn.Parameter(layer.weight.new_empty(rank, layer.in_features))
        layer.low_rank_up = nn.Parameter(layer.weight.new_zeros(layer.out_features, rank))
        nn.init.kaiming_uniform_(layer.low_rank_down, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """As a linear layer. The addition is computed in two steps, through ``rank`` channels."""
        return super().forward(x) + F.linear(F.linear(x, self.low_rank_down), self.low_rank_up)


def add_low_rank(backbone: nn.Module, rank: int, layers: str = r'attn|mlp|ffn') -> None:
    """Freeze a backbone and let the linear layers in its blocks learn a low-rank addition.

    Args:
        backbone: a vision transformer.
        rank: rank of the addition.
        layers: regular expression. Linear layers are adapted if it matches somewhere in their name.

    Raises:
        ValueError: the rank is not positive, no linear layer has such a name, or the backbone uses the weight
            of one without calling the layer.
    """
    if rank < 1:
        raise ValueError(f'model.low_rank must be the rank of the adapters, 1 or more, got {rank}')
    found = {
        name: layer
        for name, layer in backbone.named_modules()
        if type(layer) is nn.Linear and re.search(layers, name)
    }
    if not found:
        raise ValueError(
            f'model.low_rank={rank} adapts the linear layers of a transformer, of which '
            f'{type(backbone).__name__} has none (names with {layers}): leave it out'
        )
    for name, tensor in backbone.named_parameters():  # torchvision's Swin hands weights to a function
        layer = name.removesuffix('.weight')
        if name.endswith('.weight') and tensor.ndim == 2 and re.search(layers, layer) and layer not in found:
            raise ValueError(
                f'model.low_rank={rank}: {layer} of {type(backbone).__name__} is no linear layer and cannot '
                'be adapted: leave out low_rank, or take the network from timm'
            )
    backbone.requires_grad_(False)
    for module in backbone.modules():
        if hasattr(module, 'qkv_bias_separate'):  # timm: call the layer qkv, do not only read its weight
            module.qkv_bias_separate = True
    for layer in found.values():
        LowRankLinear.adapt(layer, rank)


def without_low_rank(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Only those tensors that the plain network has, too."""
    return {name: tensor for name, tensor in tensors.items() if not name.endswith((_UP, _DOWN))}


def fold_low_rank(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of the plain network: every addition is merged into the weight of its layer."""
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
    """Load a folded state dict; the backbone's own additions become 0 and cannot learn any more.

    Raises:
        RuntimeError: other tensors are missing or unknown, or shapes differ.
    """
    own = backbone.state_dict()
    factors = {name: torch.zeros_like(own[name]) for name in own.keys() - without_low_rank(own).keys()}
    backbone.load_state_dict({**factors, **tensors})
