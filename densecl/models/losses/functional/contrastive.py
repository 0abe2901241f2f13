"""One positive against many negatives: InfoNCE, and NT-Xent, MoCo v3 and DirectCLR within a batch."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..tiled import similarity_logsumexp
from .precision import no_autocast, unit


def contrastive_terms(positive_logit: Tensor, log_negatives: Tensor) -> Tensor:
    """``-log(e^p / (e^p + e^n)) = log(1 + e^(n - p))`` per row: what all of this family end in.

    Args:
        positive_logit: p, (N,).
        log_negatives: n, (N,), the logarithm of the negatives' total mass; -inf where there is none.

    Returns:
        (N,), 0 without gradient where there are no negatives.
    """
    # Exact everywhere: softplus would switch to the identity above its threshold, 2e-9 off in float64.
    return -F.logsigmoid(positive_logit - log_negatives)


def info_nce(
    query: Tensor, positive: Tensor, negatives: Tensor, temperature: float | Tensor
) -> Tensor:
    """InfoNCE with negatives shared by all queries (van den Oord et al., 2018; MoCo, He et al., 2020, eq. 1).

    ``-log( exp(q.k+ / t) / (exp(q.k+ / t) + sum_k exp(q.k / t)) )``, mean over the queries, on unit
    vectors: all three inputs are normalised inside.

    Args:
        query: (N, C).
        positive: (N, C), the key of each query.
        negatives: (K, C).
        temperature: t > 0.

    Returns:
        Scalar; 0 where K is 0. Float32, or float64 for float64 inputs.
    """
    return info_nce_terms(query, positive, unit(negatives), temperature)[0]


def tiled_info_nce(
    query: Tensor, positive: Tensor, negatives: Tensor, temperature: float | Tensor, tile: int
) -> Tensor:
    """:func:`info_nce` with ``tile`` negatives at a time: the same value, less memory for smaller tiles.

    Args:
        query: (N, C).
        positive: (N, C), the key of each query.
        negatives: (K, C).
        temperature: t > 0.
        tile: columns of the similarity matrix in memory at once.

    Returns:
        Scalar; 0 where K is 0. Float32, or float64 for float64 inputs.
    """
    return info_nce_terms(query, positive, unit(negatives), temperature, tile)[0]


@no_autocast
def info_nce_terms(
    query: Tensor,
    positive: Tensor,
    negatives: Tensor,
    temperature: float | Tensor,
    tile: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`info_nce` for negatives that are unit vectors already, with what is worth watching.

    ``tile`` is the number of negatives at a time; by default the device's own.

    Returns:
        The loss; the (N,) cosine of each positive pair; the (N,) bool whether the positive beats every
        negative. The last two carry no gradient.
    """
    query, positive = unit(query), unit(positive)
    cosine = (query * positive).sum(-1)
    if len(negatives) == 0:
        return query.sum() * 0, cosine.detach(), torch.ones_like(cosine, dtype=torch.bool)
    lse, hardest = similarity_logsumexp(
        query / temperature, negatives.to(query.dtype), tile=tile
    )
    logit = cosine / temperature
    return contrastive_terms(logit, lse).mean(), cosine.detach(), logit.detach() > hardest


def batch_pairs(view1: Tensor, view2: Tensor) -> tuple[Tensor, Tensor, Callable]:
    """A batch of N image pairs as SimCLR sees it: 2N anchors, each with 2N - 2 negatives.

    Args:
        view1: (N, C).
        view2: (N, C); row i shows the same image as row i of ``view1``.

    Returns:
        The (2N, C) unit vectors of both views; the (2N,) cosine of each one's positive pair; ``keep`` for
        :func:`similarity_logsumexp`, which leaves out an anchor itself and its positive.

    Raises:
        ValueError: where the views differ in shape.
    """
    if view1.shape != view2.shape:
        raise ValueError(
            f'view1 and view2 must hold the same images, row by row: got shapes {tuple(view1.shape)} '
            f'and {tuple(view2.shape)}'
        )
    n, unit1, unit2 = len(view1), unit(view1), unit(view2)
    cosine = (unit1 * unit2).sum(-1)
    rows = torch.arange(2 * n, device=view1.device)[:, None]

    def other_images(columns: slice, _: Tensor) -> Tensor:
        return (rows - rows[columns].T) % n != 0

    return torch.cat([unit1, unit2]), torch.cat([cosine, cosine]), other_images


@no_autocast
def nt_xent(view1: Tensor, view2: Tensor, temperature: float | Tensor) -> Tensor:
    """Normalised temperature-scaled cross entropy (SimCLR, Chen et al., 2020, eq. 1).

    Each of the 2N vectors is an anchor; its negatives are both views of all other images. Mean over the
    2N anchors as in the paper; the official code returns twice that, the sum of the views' means.

    Args:
        view1: (N, C).
        view2: (N, C).
        temperature: t > 0; 0.1 for ImageNet, 0.5 for CIFAR.

    Returns:
        Scalar; 0 where N is 1.
    """
    vectors, cosine, keep = batch_pairs(view1, view2)
    lse, _ = similarity_logsumexp(vectors / temperature, vectors, keep)
    return contrastive_terms(cosine / temperature, lse).mean()


def cross_view(query: Tensor, keys: Tensor, temperature: float | Tensor) -> Tensor:
    """InfoNCE of row i of ``query`` with row i of ``keys``; the other keys are the negatives.

    Args:
        query: (N, C), unit vectors.
        keys: (N, C), unit vectors.
        temperature: t > 0.

    Returns:
        Scalar, the mean over the queries.
    """
    rows = torch.arange(len(query), device=query.device)[:, None]
    lse, _ = similarity_logsumexp(
        query / temperature, keys, lambda columns, _: rows != rows[columns].T
    )
    return contrastive_terms((query * keys).sum(-1) / temperature, lse).mean()


@no_autocast
def moco_v3(
    query1: Tensor, query2: Tensor, key1: Tensor, key2: Tensor, temperature: float | Tensor
) -> Tensor:
    """MoCo v3's symmetric loss (Chen et al., 2021, algorithm 1): ``ctr(q1, k2) + ctr(q2, k1)``.

    ``ctr`` is InfoNCE times 2t; its negatives are the other view's keys of the other images, without
    same-view pairs. Keys should come without gradient: they are not detached here.

    Args:
        query1: (N, C), predictions of view 1.
        query2: (N, C), predictions of view 2.
        key1: (N, C), momentum projections of view 1.
        key2: (N, C), momentum projections of view 2.
        temperature: t > 0; 1.0 for ResNet-50, 0.2 for ViT.

    Returns:
        Scalar, the sum of both directions.
    """
    first = cross_view(unit(query1), unit(key2), temperature)
    second = cross_view(unit(query2), unit(key1), temperature)
    return 2 * temperature * (first + second)


@no_autocast
def direct_clr(
    features1: Tensor, features2: Tensor, dimensions: int, temperature: float | Tensor
) -> Tensor:
    """DirectCLR (Jing et al., 2022): contrast the first channels of the representation, no projector.

    The sub-vector is normalised by itself. Candidates are the N of the other view only; mean of both
    directions.

    Args:
        features1: (N, D), pooled features of view 1.
        features2: (N, D), pooled features of view 2.
        dimensions: d0 <= D, how many channels; 360 of ResNet-50's 2048.
        temperature: t > 0; 0.1.

    Returns:
        Scalar.

    Raises:
        ValueError: where the features have fewer than ``dimensions`` channels.
    """
    if not 0 < dimensions <= features1.shape[1]:
        raise ValueError(
            f'dimensions must be between 1 and the {features1.shape[1]} channels of the features, '
            f'got {dimensions}'
        )
    unit1, unit2 = unit(features1[:, :dimensions]), unit(features2[:, :dimensions])
    both = cross_view(unit1, unit2, temperature) + cross_view(unit2, unit1, temperature)
    return both / 2
