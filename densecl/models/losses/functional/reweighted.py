"""NT-Xent with another denominator: decoupled, debiased, and with hard negatives weighted up.

The corrections work on logarithms of masses, one number a query, so the negatives themselves may come tile
by tile.
"""

import math

import torch
from torch import Tensor

from ..tiled import similarity_logsumexp
from .contrastive import batch_pairs, contrastive_terms
from .precision import no_autocast


@no_autocast
def decoupled(
    view1: Tensor,
    view2: Tensor,
    temperature: float | Tensor,
    sigma: float | None = None,
    detach_weights: bool = False,
) -> Tensor:
    """Decoupled contrastive learning, DCL and DCLW (Yeh et al., 2022, eq. 6).

    ``-w_i s_i+ / t + log sum_neg exp(s / t)``: the positive is not in the denominator, whose 2N - 2 terms
    come from both views. ``w_i`` is 1, or with ``sigma`` (DCLW) ``2 - N softmax_i(s_i+ / sigma)``, whose mean
    is 1. The loss may be negative.

    There is no official code. Of the two public ones, one differentiates the weights, as here by default,
    so that the gradient is that of the value; lightly detaches them (and adds two logarithms, one for the
    negatives of each view, where the paper has one of both: its values differ).

    Args:
        view1: (N, C).
        view2: (N, C).
        temperature: t > 0.
        sigma: DCLW's temperature of the weights, 0.5 in the paper; None is DCL.
        detach_weights: no gradient through ``w``.

    Returns:
        Scalar, the mean of both directions; 0 where N is 1.
    """
    vectors, cosine, keep = batch_pairs(view1, view2)
    lse, _ = similarity_logsumexp(vectors / temperature, vectors, keep)
    weights = 1.0
    if sigma is not None:
        # Both halves of `cosine` are the same N pairs: a softmax over 2N is half of that over N.
        weights = 2 - len(cosine) * (cosine / sigma).softmax(0)
        weights = weights.detach() if detach_weights else weights
    terms = lse - weights * cosine / temperature
    return torch.where(lse == -torch.inf, 0.0, terms).mean()


def debiased_log_mass(
    log_negatives: Tensor,
    positive_logit: Tensor,
    count: int | Tensor,
    temperature: float | Tensor,
    prior: float,
) -> Tensor:
    """The negatives' mass without the false negatives expected among them (Chuang et al., 2020, eq. 7).

    ``log max( (neg - prior n pos) / (1 - prior), n exp(-1/t) )`` in the log domain; the lower bound is what
    n opposite vectors would have.

    Args:
        log_negatives: (N,), ``log neg``: log-sum-exp over each query's negatives.
        positive_logit: (N,), ``log pos``.
        count: n, the number of negatives of each query: a number or (N,).
        temperature: t > 0, as in the logits: a number or (N,).
        prior: probability that a negative is of the query's class, in [0, 1).

    Returns:
        (N,); ``log_negatives`` itself where ``prior`` is 0.

    Raises:
        ValueError: where ``prior`` is outside [0, 1).
    """
    if not 0 <= prior < 1:
        raise ValueError(f'the positive prior must be in [0, 1), got {prior}')
    if prior == 0:
        return log_negatives
    log_count = torch.as_tensor(count, dtype=log_negatives.dtype, device=log_negatives.device).log()
    gap = positive_logit + log_count + math.log(prior) - log_negatives
    # log(a - b) = log a + log(1 - b/a) where b < a; elsewhere only the bound is left.
    less = gap < 0
    share = torch.where(less, gap, -1.0).expm1().neg().log()
    mass = torch.where(less, log_negatives + share - math.log1p(-prior), -torch.inf)
    return mass.clamp(min=log_count - 1 / temperature)


@no_autocast
def debiased_nt_xent(
    view1: Tensor, view2: Tensor, temperature: float | Tensor, positive_prior: float
) -> Tensor:
    """Debiased contrastive loss with one positive (Chuang et al., 2020, eq. 8).

    Args:
        view1: (N, C).
        view2: (N, C).
        temperature: t > 0; 0.5.
        positive_prior: probability that a negative is of the anchor's class; 0.1. With 0 it is NT-Xent.

    Returns:
        Scalar, the mean over the 2N anchors.
    """
    return hard_nt_xent(view1, view2, temperature, positive_prior, concentration=0.0)


@no_autocast
def hard_nt_xent(
    view1: Tensor,
    view2: Tensor,
    temperature: float | Tensor,
    positive_prior: float,
    concentration: float,
) -> Tensor:
    """Contrastive learning with hard negatives, HCL (Robinson et al., 2021).

    :func:`debiased_nt_xent` whose negatives are weighted by ``exp(concentration * s / t)``: the exponent
    has the temperature in it, and the gradient goes through the weights, as in the official code.

    Args:
        view1: (N, C).
        view2: (N, C).
        temperature: t > 0; 0.5.
        positive_prior: probability that a negative is of the anchor's class; 0.1.
        concentration: beta >= 0; 1.0. With 0 it is the debiased loss.

    Returns:
        Scalar, the mean over the 2N anchors.
    """
    vectors, cosine, keep = batch_pairs(view1, view2)
    count, query = len(vectors) - 2, vectors / temperature
    negatives, _ = similarity_logsumexp((1 + concentration) * query, vectors, keep)
    if concentration and count:
        # sum w e^(s/t) / mean(w) with w = e^(beta s/t) is the ratio of two plain sums, times n.
        weights, _ = similarity_logsumexp(concentration * query, vectors, keep)
        negatives = negatives - weights + math.log(count)
    logit = cosine / temperature
    mass = debiased_log_mass(negatives, logit, count, temperature, positive_prior)
    return contrastive_terms(logit, mass).mean()
