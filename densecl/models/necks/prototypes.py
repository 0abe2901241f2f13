"""Projectors that return scores of prototypes: SwAV's, DINO's and DINOv3's."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from densecl.distributed import local
from densecl.numerics import full_precision, no_autocast, unit
from densecl.registry import MODELS

from .mlp import MLP


class UnitPrototypes(nn.Module):
    """``count`` prototypes of width ``dim``, normalised to length 1 before each step (SwAV).

    A moving average of them, which has no gradient, is normalised whenever it is used (Leopart).
    """

    def __init__(self, dim: int, count: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(_linear_weight(dim, count))
        self.normalize_()

    @torch.no_grad()
    def normalize_(self) -> None:
        """Normalise each prototype to length 1, in place, without gradient."""
        weight = local(self.weight)  # --shard gives a process whole prototypes
        weight.copy_(F.normalize(weight, dim=1))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Unit vectors (N, C) -> cosines (N, K), in float32 or better."""
        return _scores(embeddings, self.weight if self.weight.requires_grad else unit(self.weight))


class WeightNormPrototypes(nn.Module):
    """Prototypes with learned direction ``weight_v`` and length ``weight_g`` (DINO, Caron et al., 2021).

    The gradient flows through the normalisation, so it is orthogonal to the prototype.

    Args:
        dim: width C of an embedding.
        count: number K of prototypes.
        learn_length: train ``weight_g``, which starts at 1 (``norm_last_layer=False`` in the official code,
            better but less stable). Otherwise the scores are cosines.
    """

    def __init__(self, dim: int, count: int, learn_length: bool = False) -> None:
        super().__init__()
        self.weight_g = nn.Parameter(torch.ones(count, 1), requires_grad=learn_length)
        self.weight_v = nn.Parameter(_linear_weight(dim, count))

    def normalize_(self) -> None:
        """Nothing to do: the normalisation is a part of the layer."""

    def forward(self, embeddings: Tensor) -> Tensor:
        """(N, C) unit vectors -> (N, K) scores, at least float32."""
        return _scores(embeddings, self.weight_g * F.normalize(self.weight_v, dim=1))


class LinearPrototypes(nn.Module):
    """Prototypes that are the rows of a linear layer, not normalised (DINOv3, Siméoni et al., 2025).

    Their lengths are trained, too. Initial values are from a truncated normal distribution with std 0.02.
    """

    def __init__(self, dim: int, count: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.trunc_normal_(torch.empty(count, dim), std=0.02))

    def normalize_(self) -> None:
        """Nothing to do: they have no fixed length."""

    def forward(self, embeddings: Tensor) -> Tensor:
        """(N, C) unit vectors -> (N, K) scores, at least float32."""
        return _scores(embeddings, self.weight)


@MODELS.register_module()
class PrototypeProjector(nn.Module):
    """(N, C) -> (N, K): an MLP, L2 normalisation, then scores of K prototypes.

    The embeddings are available, too: ``projector.prototypes(projector.embed(x))`` equals ``projector(x)``.
    Scores are computed in float32 also under autocast: after division by a temperature of 0.05, rounding to
    half precision would matter.

    Args:
        channels: widths of the MLP from the input to the embedding.
        prototypes: number K of prototypes, at least 2.
        weight_norm: use DINO's prototypes, :class:`WeightNormPrototypes`, not SwAV's,
            :class:`UnitPrototypes`.
        learn_length: see :class:`WeightNormPrototypes`; needs ``weight_norm``.
        plain: use DINOv3's prototypes, :class:`LinearPrototypes`; not with ``weight_norm``.
        **kwargs: see :class:`~densecl.models.necks.MLP`, such as ``norm=True``.
    """

    def __init__(
        self,
        channels: Sequence[int],
        prototypes: int,
        weight_norm: bool = False,
        learn_length: bool = False,
        plain: bool = False,
        **kwargs,
    ) -> None:
        super().__init__()
        if prototypes < 2:
            raise ValueError(f'PrototypeProjector: prototypes must be at least 2, got {prototypes}')
        if learn_length and not weight_norm:
            raise ValueError(
                'PrototypeProjector: learn_length=True needs weight_norm=True; the prototypes '
                'without it are unit vectors'
            )
        if plain and weight_norm:
            raise ValueError(
                'PrototypeProjector: plain=True are prototypes without weight_norm: leave out one'
            )
        self.mlp = MLP(channels, **kwargs)
        if plain:
            self.prototypes = LinearPrototypes(channels[-1], prototypes)
        elif weight_norm:
            self.prototypes = WeightNormPrototypes(channels[-1], prototypes, learn_length)
        else:
            self.prototypes = UnitPrototypes(channels[-1], prototypes)

    def embed(self, x: Tensor) -> Tensor:
        """(N, C) -> unit vectors (N, D), which are compared with the prototypes."""
        return unit(self.mlp(x))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C) -> scores (N, K)."""
        return self.prototypes(self.embed(x))


def _linear_weight(inputs: int, outputs: int) -> Tensor:
    """(outputs, inputs), with torch's initial values of a linear layer, as in both official codes."""
    return nn.Linear(inputs, outputs, bias=False).weight.detach()


@no_autocast
def _scores(embeddings: Tensor, weight: Tensor) -> Tensor:
    return F.linear(full_precision(embeddings), full_precision(weight))
