"""Weighted k-nearest-neighbour classification on frozen features."""

from collections.abc import Sequence

import torch
from torch import Tensor

from densecl.numerics import unit

# similarities in memory at once: 64 MiB in float32 on a CPU, 1 GiB on a GPU
_TILE = {'cpu': 1 << 24, 'cuda': 1 << 28}


@torch.no_grad()
def knn_predict(
    queries: Tensor,
    bank: Tensor,
    labels: Tensor,
    neighbors: Sequence[int] = (1, 10, 20),
    temperature: float = 0.07,
    leave_one_out: bool = False,
) -> dict[int, Tensor]:
    """Let the nearest features of a bank vote for their classes.

    The k features of largest cosine similarity s vote with weight exp(s / temperature) (Wu et al.,
    2018, section 3.4; DINO, Caron et al., 2021, section 4.1, k = 20 by default there).

    Args:
        queries: (N, C); rows are normalised here.
        bank: (M, C), the features of known class; rows are normalised here.
        labels: (M,) int64, their classes, from 0.
        neighbors: the values of k.
        temperature: of the votes.
        leave_one_out: queries are the bank itself, row by row, and no row votes for itself.

    Returns:
        k -> (N,) int64, the predicted classes.

    Raises:
        ValueError: a k is not in 1..M (M - 1 with ``leave_one_out``), or the shapes do not fit.
    """
    _check(queries, bank, labels, neighbors, leave_one_out)
    queries, bank = unit(queries), unit(bank)
    found = []
    tile = max(1, _TILE.get(bank.device.type, _TILE['cpu']) // len(bank))
    for rows in torch.arange(len(queries), device=bank.device).split(tile):
        similarity = queries[rows] @ bank.T  # (rows, M)
        if leave_one_out:
            similarity[torch.arange(len(rows)), rows] = -torch.inf
        found.append(similarity.topk(max(neighbors)))
    cosine, index = (torch.cat(parts) for parts in zip(*found, strict=True))  # (N, k), descending
    weights, classes = (cosine / temperature).exp(), labels.to(bank.device)[index]
    empty = weights.new_zeros(len(weights), int(labels.max()) + 1)
    # Of classes with equal votes the first.
    return {k: empty.scatter_add(1, classes[:, :k], weights[:, :k]).argmax(1) for k in neighbors}


def class_accuracy(predicted: Tensor, labels: Tensor) -> dict[str, float]:
    """How many of N predictions are right, in per cent.

    Returns:
        ``top1`` over all samples; ``mean_class``, the mean over classes of each class's share, which
        does not reward a classifier for naming the largest class.
    """
    right = (predicted == labels).double()
    total = torch.bincount(labels)
    share = torch.bincount(labels, right)[total > 0] / total[total > 0]
    return {'top1': 100 * right.mean().item(), 'mean_class': 100 * share.mean().item()}


def _check(queries, bank, labels, neighbors, leave_one_out: bool) -> None:
    if queries.ndim != 2 or bank.ndim != 2 or queries.shape[1] != bank.shape[1]:
        raise ValueError(
            f'queries and bank must be (N, C) and (M, C), got {tuple(queries.shape)} and {tuple(bank.shape)}'
        )
    if labels.shape != bank.shape[:1] or int(labels.min()) < 0:
        raise ValueError(
            f'labels must be {len(bank)} classes from 0, one a row of the bank, got shape '
            f'{tuple(labels.shape)}, smallest {int(labels.min()) if labels.numel() else None}'
        )
    if leave_one_out and len(queries) != len(bank):
        raise ValueError('leave_one_out needs the bank itself as queries, got another number of rows')
    most = len(bank) - leave_one_out
    if not neighbors or min(neighbors) < 1 or max(neighbors) > most:
        raise ValueError(f'neighbors must be in 1..{most}, the features to choose from; got {neighbors}')
