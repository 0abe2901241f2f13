"""Sorting by a network of comparators, made soft so that orders have a gradient."""

from functools import cache

import torch
from torch import Tensor

from densecl.numerics import full_precision, no_autocast


@cache
def bitonic_network(count: int) -> tuple[Tensor, Tensor]:
    """Layers of comparators that sort ``count`` numbers (Batcher, 1968), as diffsort builds them.

    For a number that is no power of two the network of the next power is taken, without its first places and
    their comparators; it then sorts nearly, as the official code of NeCo does.

    Returns:
        (L, count) int64, with whom each place is compared in each layer, itself where with none; and
        (L, count) of 1 where the place takes the smaller number, -1 the larger, 0 where it is left alone.
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
    """Which place each number takes in ascending order, softly (Petersen et al., ICML 2021 and ICLR 2022).

    A comparator of a and b gives ``p a + (1 - p) b`` as the smaller, with ``p = 1/2 + atan(steepness
    (b - a)) / pi`` (of a Cauchy distribution, whose tails keep every share above 0).

    Args:
        x: (..., n).
        network: see :func:`bitonic_network`, on the device of ``x``.
        steepness: > 0; without bound the order is a hard one.

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
