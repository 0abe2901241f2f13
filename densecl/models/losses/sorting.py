"""Differentiable sorting: a sorting network with soft comparators."""

from functools import cache

import torch
from torch import Tensor

from densecl.numerics import full_precision, no_autocast


@cache
def bitonic_network(count: int) -> tuple[Tensor, Tensor]:
    """Layers of comparators that sort ``count`` numbers (Batcher, 1968), as diffsort builds them.

    If ``count`` is not a power of two, the network of the next power of two is used, without its first places
    and their comparators. It then sorts only approximately, as in the official code of NeCo.

    Returns:
        (L, count) int64, the partner of each place in each of L layers; a place without partner has itself.
        And (L, count): 1 if the place gets the smaller number, -1 if the larger, 0 if it has no partner.
    """
    blocks = max(count - 1, 0).bit_length()
    dropped = 2**blocks - count
    partners, signs = [], []
    for block in range(blocks):
        for layer in range(block, -1, -1):
            distance = 2**layer
            partner, sign = list(range(count)), [0.0] * count
            for place in range(count):
                wire = place + dropped
                other = wire ^ distance
                if other < dropped:
                    continue
                upward = (wire >> (block + 1)) % 2 == 0
                partner[place] = other - dropped
                sign[place] = 1.0 if (wire < other) == upward else -1.0
            partners.append(partner)
            signs.append(sign)
    return torch.tensor(partners, dtype=torch.int64).view(-1, count), torch.tensor(signs).view(-1, count)


@no_autocast
def soft_order(x: Tensor, network: tuple[Tensor, Tensor], steepness: float) -> Tensor:
    """The soft place of each number in ascending order (Petersen et al., ICML 2021 and ICLR 2022).

    A comparator of a and b returns ``p a + (1 - p) b`` as the smaller number, with ``p = 1/2 +
    atan(steepness (b - a)) / pi``. This is the distribution function of a Cauchy distribution; its heavy
    tails keep every share above 0.

    Args:
        x: (..., n).
        network: see :func:`bitonic_network`, on the device of ``x``.
        steepness: > 0; the larger, the nearer to hard sorting.

    Returns:
        (..., n, n), the share of number i (row) in place k (column); rows and columns sum to 1.
    """
    x = full_precision(x)
    shares = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device).expand(*x.shape, -1)
    for partner, sign in zip(*network, strict=True):
        other = x.index_select(-1, partner)
        own = 0.5 + torch.atan(steepness * sign.to(x.dtype) * (other - x)) / torch.pi
        x = other + own * (x - other)
        exchanged = shares.index_select(-1, partner)
        shares = exchanged + own[..., None, :] * (shares - exchanged)
    return shares
