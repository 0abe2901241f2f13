"""How assignments to prototypes are spread."""

import math

import torch
from torch import Tensor


def entropy(probabilities: Tensor) -> Tensor:
    """Entropy of the last dimension as a share of ln K, (..., K) -> (...), in [0, 1]."""
    return torch.special.entr(probabilities).sum(-1) / math.log(probabilities.shape[-1])


def mean_entropy(probabilities: Tensor) -> Tensor:
    """Mean over the rows of their entropy, (N, K) -> scalar; 0 is one-hot, 1 is uniform."""
    return entropy(probabilities).mean()
