"""Measures how much of their space embeddings use."""

import torch
import torch.nn.functional as F
from torch import Tensor

from densecl.numerics import full_precision, unit


def embedding_std(features: Tensor) -> Tensor:
    """Standard deviation of unit embeddings over samples, averaged over channels (SimSiam, Chen and He,
    2021, section 4.1).

    It is about 1 / sqrt(C) if directions are spread evenly over the sphere, 0 for complete collapse. The
    variance is divided by N, not by N - 1.

    Args:
        features: (N, C); rows are normalised here.
    """
    return unit(features).std(0, unbiased=False).mean()


def singular_values(x: Tensor) -> Tensor:
    """Singular values of (..., N, C) from the smaller Gram matrix, in float64: many times faster."""
    x = x.double()
    gram = x @ x.mT if x.shape[-2] < x.shape[-1] else x.mT @ x
    return torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()


def effective_rank(singular: Tensor, epsilon: float = 0) -> Tensor:
    """``exp(entropy of the singular values over their sum)``, (..., S) -> (...) (Roy and Vetterli, 2007,
    section 2).

    It is 1 for a single direction, and min(N, C) if all singular values are equal. ``epsilon`` is added to
    each share.
    """
    p = singular / singular.sum(-1, keepdim=True).clamp_min(torch.finfo(singular.dtype).tiny) + epsilon
    return torch.special.entr(p).sum(-1).exp()


def rank_me(features: Tensor) -> Tensor:
    """The effective rank with 1e-7 added to each share (RankMe, Garrido et al., 2023, equation 1).

    The sum of the shares is then slightly above 1. The paper uses 25,600 samples.

    Args:
        features: (N, C), neither centred nor normalised.
    """
    return effective_rank(torch.linalg.svdvals(full_precision(features)), 1e-7)


def alignment(view1: Tensor, view2: Tensor) -> Tensor:
    """Mean squared distance of positive pairs on the sphere (Wang and Isola, 2020, section 4.1);
    lower is closer.

    Args:
        view1: (N, C); rows are normalised here.
        view2: (N, C), row by row the other view of the same sample.
    """
    return (unit(view1) - unit(view2)).square().sum(1).mean()


def uniformity(features: Tensor, t: float = 2.0) -> Tensor:
    """``log mean exp(-t d^2)`` over pairs of samples (Wang and Isola, 2020, section 4.1); lower is
    more uniform.

    Args:
        features: (N, C), N >= 2; rows are normalised here.
        t: scale.
    """
    return F.pdist(unit(features)).square().mul(-t).exp().mean().log()


@torch.no_grad()
def embedding_statistics(features: Tensor) -> dict[str, float]:
    """``std``, ``rank``, ``neg_sim``, ``uniformity`` and ``vendi`` of (N, C) embeddings, for a log.

    All values are for unit embeddings. ``std`` is :func:`embedding_std` times sqrt(C); 1 is healthy for every
    C. ``rank`` is the effective rank. ``neg_sim`` is the mean cosine of different samples. ``vendi`` is the
    effective number of different embeddings (Vendi score of their cosines, Friedman and Dieng, 2023, section
    3): from 1, if all are on one line, to min(N, C), if all are orthogonal. All values are copied to the host
    together.
    """
    z = unit(features)
    n, channels = z.shape
    std = embedding_std(z) * channels**0.5
    neg_sim = (z.sum(0).square().sum() - n) / max(n * (n - 1), 1)
    singular = singular_values(z)
    vendi = effective_rank(singular.square())  # eigenvalues of the matrix of cosines
    values = torch.stack([std, effective_rank(singular), neg_sim, uniformity(z), vendi]).tolist()
    return dict(zip(('std', 'rank', 'neg_sim', 'uniformity', 'vendi'), values, strict=True))
