"""Pixels of one class attract, pixels of different classes repel."""

import torch
from torch import Tensor

from densecl.numerics import full_precision, unit

from .contrastive import by_label


def pixel_contrast(
    embeddings: Tensor,
    labels: Tensor,
    temperature: float | Tensor,
    base_temperature: float | Tensor,
    keys: Tensor | None = None,
    key_labels: Tensor | None = None,
) -> Tensor:
    """Pixel-wise supervised contrast (Wang et al., ICCV 2021; rescaled by t / base as in the code).

    ``-t / base * mean_p log( exp(s_ip / t) / (exp(s_ip / t) + sum_n exp(s_in / t)) )``: p are the other
    vectors of i's label, n those of other labels. An anchor that is alone with its label adds 0 and counts
    in the mean, as in :func:`sup_con` (the official code gives NaN). Without keys this is
    ``t / base`` times :func:`sincere`.

    Args:
        embeddings: (N, C), the anchors.
        labels: (N,) integers, compared as they are: leave ignored pixels out.
        temperature: t > 0; 0.1.
        base_temperature: the loss is multiplied by ``temperature / base_temperature``; 0.07.
        keys: (K, C), vectors that every anchor is compared with besides the other anchors; a memory.
        key_labels: (K,) their labels.

    Returns:
        Scalar, the mean over the N anchors; 0, with zero gradient, where N is 0. A ValueError if numbers of
        vectors and labels differ.
    """
    _check('embeddings', embeddings, labels)
    if not len(labels):
        return full_precision(embeddings).sum()
    columns, column_labels = unit(embeddings), labels
    if keys is not None:
        _check('keys', keys, key_labels)
        columns = torch.cat([columns, unit(keys).to(columns.dtype)])
        column_labels = torch.cat([labels, key_labels])
    loss = by_label(embeddings, labels, columns, column_labels, temperature, 'apart')
    return temperature / base_temperature * loss


def _check(name: str, vectors: Tensor, labels: Tensor | None) -> None:
    count = 0 if labels is None else len(labels)
    if len(vectors) != count:
        raise ValueError(
            f'pixel_contrast: {name} has {len(vectors)} vectors, but there are {count} labels of them; '
            'pass one label a vector'
        )
