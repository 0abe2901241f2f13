"""Predicts classes or soft labels from the nearest frozen features."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from densecl.numerics import unit

# Number of similarities in memory at once: 64 MiB in float32 on a CPU, 1 GiB on a GPU.
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
    """Predict classes by votes of the nearest features in a bank.

    The k features with the largest cosine similarity s vote with weight exp(s / temperature) (Wu et al.,
    2018, section 3.4; DINO, Caron et al., 2021, section 4.1, default k = 20).

    Args:
        queries: (N, C); rows are normalised here.
        bank: (M, C), the features with known classes; rows are normalised here.
        labels: (M,) int64, their classes, from 0.
        neighbors: the values of k.
        temperature: temperature of the votes.
        leave_one_out: the queries are the bank itself, row by row, and no row votes for itself.

    Returns:
        k -> (N,) int64, the predicted classes.

    Raises:
        ValueError: a k is not in 1..M (M - 1 with ``leave_one_out``), or the shapes do not fit.
    """
    _check(queries, bank, labels, neighbors, leave_one_out)
    found = _nearest(unit(queries), unit(bank), max(neighbors), leave_one_out)
    cosine, index = (torch.cat(parts) for parts in zip(*found, strict=True))  # (N, k), descending
    weights, classes = (cosine / temperature).exp(), labels.to(bank.device)[index]
    empty = weights.new_zeros(len(weights), int(labels.max()) + 1)
    # If classes have equal votes, the first one wins.
    return {k: empty.scatter_add(1, classes[:, :k], weights[:, :k]).argmax(1) for k in neighbors}


@torch.no_grad()
def retrieve_labels(
    query: Tensor, keys: Tensor, labels: Tensor, neighbours: int, temperature: float
) -> Tensor:
    """Mix the labels of the nearest keys (cross-attention of Hummingbird, Balazevic et al., 2023, section 3).

    The keys with the largest cosine similarity s are weighted by the softmax of s / temperature over them.

    Args:
        query: (Q, D); rows are normalised here.
        keys: (M, D), on the same device; rows are normalised here.
        labels: (M, C), class frequencies of each key.
        neighbours: number of keys used, 1 to M.
        temperature: temperature of the softmax, above 0.

    Returns:
        (Q, C), in the precision of the similarities: at least float32.

    Raises:
        ValueError: ``neighbours`` is not in 1..M, the temperature not above 0, or the shapes do not fit.
    """
    if query.ndim != 2 or keys.ndim != 2 or query.shape[1] != keys.shape[1]:
        raise ValueError(
            f'query and keys must be (Q, D) and (M, D), got {tuple(query.shape)} and {tuple(keys.shape)}'
        )
    if labels.ndim != 2 or len(labels) != len(keys):
        raise ValueError(f'labels must be ({len(keys)}, C), a row for each key, got {tuple(labels.shape)}')
    if not 1 <= neighbours <= len(keys) or not temperature > 0:
        raise ValueError(
            f'neighbours must be in 1..{len(keys)} and temperature above 0, got {neighbours}, {temperature}'
        )
    query, keys = unit(query), unit(keys)
    labels = labels.to(keys.device, keys.dtype)
    mixed = [query.new_zeros(0, labels.shape[1])]
    for cosine, index in _nearest(query, keys, neighbours):
        weights = (cosine / temperature).softmax(1)
        mixed.append(torch.einsum('qk,qkc->qc', weights, labels[index]))  # c: classes
    return torch.cat(mixed)


def class_accuracy(predicted: Tensor, labels: Tensor) -> dict[str, float]:
    """Accuracy of N predictions in per cent.

    Returns:
        ``top1``, over all samples; ``mean_class``, the mean of the classes' accuracies. The latter gives no
        advantage to a classifier that always predicts the largest class.
    """
    right = (predicted == labels).double()
    total = torch.bincount(labels)
    share = torch.bincount(labels, right)[total > 0] / total[total > 0]
    return {'top1': 100 * right.mean().item(), 'mean_class': 100 * share.mean().item()}


def _nearest(
    queries: Tensor, bank: Tensor, k: int, leave_one_out: bool = False
) -> Iterator[tuple[Tensor, Tensor]]:
    """Exact search in batches of q queries: cosines (q, k), descending, and rows of the bank (q, k)."""
    tile = max(1, _TILE.get(bank.device.type, _TILE['cpu']) // len(bank))
    for rows in torch.arange(len(queries), device=bank.device).split(tile):
        similarity = queries[rows] @ bank.T  # (q, M)
        if leave_one_out:
            similarity[torch.arange(len(rows)), rows] = -torch.inf
        yield similarity.topk(k)


def _check(queries, bank, labels, neighbors, leave_one_out: bool) -> None:
    if queries.ndim != 2 or bank.ndim != 2 or queries.shape[1] != bank.shape[1]:
        raise ValueError(
            f'queries and bank must be (N, C) and (M, C), got {tuple(queries.shape)} and {tuple(bank.shape)}'
        )
    if labels.shape != bank.shape[:1] or (len(labels) and int(labels.min()) < 0):
        raise ValueError(
            f'labels must be {len(bank)} classes from 0, one a row of the bank, got shape '
            f'{tuple(labels.shape)}, smallest {int(labels.min()) if labels.numel() else None}'
        )
    if leave_one_out and len(queries) != len(bank):
        raise ValueError('leave_one_out needs the bank itself as queries, got another number of rows')
    most = len(bank) - leave_one_out
    if not neighbors or min(neighbors) < 1 or max(neighbors) > most:
        raise ValueError(f'neighbors must be in 1..{most}, the features to choose from; got {neighbors}')
