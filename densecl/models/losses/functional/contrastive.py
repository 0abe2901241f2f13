"""InfoNCE and its relatives on plain tensors: :class:`.InfoNCE` itself scores them."""

from collections.abc import Callable

import torch
from torch import Tensor

from densecl.numerics import full_precision, no_autocast, unit
from densecl.structures import Batch, Comparison, Match, Units

from ..candidates import Candidates
from ..contrast import InfoNCE
from ..masses import Debiased, Hard
from ..parts import Mass, Temperature
from ..triplet import triplet_terms


class Given(Temperature):
    """A temperature that is at hand, a number or a tensor."""

    def __init__(self, value: float | Tensor) -> None:
        super().__init__()
        self.value = value

    def forward(self, cosine, comparison, extra):
        """As it is."""
        return self.value


def comparison(query: Tensor, key: Tensor, match: Match | None = None) -> Comparison:
    """Of (B, N, C) with (B, M, C) vectors, or of an image a row: (N, C) each."""
    if query.ndim == 2:
        query, key = query[:, None], key[:, None]
    if match is None:
        match = Match(index=torch.zeros(query.shape[:2], dtype=torch.int64, device=query.device))
    sides = (Units(full_precision(x), pooled=full_precision(x).mean(1)) for x in (query, key))
    return Comparison(*sides, match, Batch(torch.arange(len(query), device=query.device)))


def plain_objective(temperature: float | Tensor, **kwargs) -> InfoNCE:
    """InfoNCE without a queue, of what this process is given alone."""
    return InfoNCE(Given(temperature), queue=0, gathered=False, **{'batch': 'keys', **kwargs})


def info_nce(query: Tensor, positive: Tensor, negatives: Tensor, temperature: float | Tensor) -> Tensor:
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
    return tiled_info_nce(query, positive, negatives, temperature, None)


@no_autocast
def tiled_info_nce(
    query: Tensor, positive: Tensor, negatives: Tensor, temperature: float | Tensor, tile: int | None
) -> Tensor:
    """:func:`info_nce` with ``tile`` negatives at a time: the same value, less memory for smaller tiles.

    Args:
        query: (N, C).
        positive: (N, C), the key of each query.
        negatives: (K, C).
        temperature: t > 0.
        tile: columns of the similarity matrix in memory at once; None: what is fast on the device.

    Returns:
        Scalar; 0 where K is 0. Float32, or float64 for float64 inputs.
    """
    candidates = Candidates(unit(negatives), tile=tile)
    return plain_objective(temperature).terms(comparison(query, positive), candidates)[0].mean()


def both_ways(view1: Tensor, view2: Tensor, temperature: float | Tensor, **kwargs) -> Tensor:
    """Mean over both directions of InfoNCE between (N, C) views of the same images.

    Raises:
        ValueError: where the views differ in shape.
    """
    if view1.shape != view2.shape:
        raise ValueError(
            f'view1 and view2 must hold the same images, row by row: got shapes {tuple(view1.shape)} '
            f'and {tuple(view2.shape)}'
        )
    objective = plain_objective(temperature, **kwargs)
    first, second = (objective.score(comparison(a, b))[0] for a, b in ((view1, view2), (view2, view1)))
    return (first + second) / 2


def nt_xent(view1: Tensor, view2: Tensor, temperature: float | Tensor) -> Tensor:
    """Normalised temperature-scaled cross entropy (SimCLR, Chen et al., 2020, eq. 1).

    Each of the 2N vectors is an anchor; its negatives are both views of all other images. Mean over the
    2N anchors as in the paper; the official code returns twice that, the sum of the views' means.

    Args:
        view1: (N, C).
        view2: (N, C); row i shows the same image as row i of ``view1``.
        temperature: t > 0; 0.1 for ImageNet, 0.5 for CIFAR.

    Returns:
        Scalar; 0 where N is 1.

    Raises:
        ValueError: where the views differ in shape; so do all functions of two views here.
    """
    return both_ways(view1, view2, temperature, batch='views')


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
    objective = plain_objective(temperature, times_temperature=True)
    pairs = ((query1, key2), (query2, key1))
    return 2 * sum(objective.score(comparison(query, key))[0] for query, key in pairs)


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
    return both_ways(features1[:, :dimensions], features2[:, :dimensions], temperature)


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
    options = dict(batch='views', decoupled=True, sigma=sigma, detach_weights=detach_weights)
    return both_ways(view1, view2, temperature, **options)


def _weighted(view1: Tensor, view2: Tensor, temperature: float | Tensor, mass: Mass) -> Tensor:
    return both_ways(view1, view2, temperature, batch='views', negatives=mass)


def debiased_nt_xent(
    view1: Tensor, view2: Tensor, temperature: float | Tensor, positive_prior: float
) -> Tensor:
    """Debiased contrastive loss with one positive (Chuang et al., 2020, eq. 8).

    Args:
        view1: (N, C).
        view2: (N, C).
        temperature: t > 0; 0.5.
        positive_prior: probability that a negative is of the anchor's class, in [0, 1); 0.1. With 0 it is
            NT-Xent.

    Returns:
        Scalar, the mean over the 2N anchors.
    """
    return _weighted(view1, view2, temperature, Debiased(positive_prior))


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
        positive_prior: probability that a negative is of the anchor's class, in [0, 1); 0.1.
        concentration: beta >= 0; 1.0. With 0 it is the debiased loss.

    Returns:
        Scalar, the mean over the 2N anchors.
    """
    return _weighted(view1, view2, temperature, Hard(positive_prior, concentration))


def sup_con(
    features: Tensor, labels: Tensor, temperature: float | Tensor, form: str = 'out'
) -> Tensor:
    """Supervised contrastive loss (Khosla et al., 2020, eq. 2 ``'out'`` and eq. 3 ``'in'``).

    The positives of an anchor are all others of its label; the denominator has everything but itself.
    An anchor without positives adds 0 and counts in the mean. Not rescaled: the official code multiplies
    by ``temperature / 0.07``. Labels are compared as they are: -1 is a class like any other.

    Args:
        features: (N, C), all views of the batch, stacked.
        labels: (N,) integers.
        temperature: t > 0; 0.1.
        form: mean over the positives outside (``'out'``) or inside (``'in'``, never larger) of the log.

    Returns:
        Scalar, the mean over the N anchors.

    Raises:
        ValueError: for another ``form``.
    """
    if form not in ('out', 'in'):
        raise ValueError(f"sup_con: form must be 'out' or 'in', got {form!r}")
    form = 'in-mean' if form == 'in' else form  # eq. 3 has the mean inside of the logarithm
    return by_label(features, labels, unit(features), labels, temperature, form)


def sincere(features: Tensor, labels: Tensor, temperature: float | Tensor) -> Tensor:
    """SINCERE (Feeney and Hughes, 2023): SupCon whose other positives never enter the denominator.

    Each positive pair stands against the anchor's negatives alone; mean over the anchor's positives, then
    over anchors. An anchor without positives adds 0 and counts in the mean (the official code gives NaN).

    Args:
        features: (N, C), all views of the batch, stacked.
        labels: (N,) integers.
        temperature: t > 0; 0.07 in the official class, 0.1 in its recipes.

    Returns:
        Scalar.
    """
    return by_label(features, labels, unit(features), labels, temperature, 'apart')


@no_autocast
def by_label(
    features: Tensor,
    labels: Tensor,
    keys: Tensor,
    key_labels: Tensor,
    temperature: float | Tensor,
    form: str,
) -> Tensor:
    """InfoNCE of (N, C) anchors, the first N keys, whose answers are all other keys of their label."""

    def across(candidates: Candidates) -> Callable[[slice], Tensor]:
        return lambda columns: labels[:, None] == candidates.labels[columns]

    none = torch.zeros(len(labels), 1, 1, dtype=torch.bool, device=labels.device)
    c = comparison(features, features, Match(mask=none, across=across))
    numbers = torch.full((len(keys),), -1, device=labels.device)
    numbers[: len(labels)] = c.batch.numbers
    candidates = Candidates(keys, numbers, own=c.batch.numbers, labels=key_labels)
    terms, counted, _ = plain_objective(temperature, form=form).terms(c, candidates)
    return torch.where(counted, terms, 0.0).mean()


def multi_positive_info_nce(
    query: Tensor,
    keys: Tensor,
    positives: Tensor,
    temperature: float | Tensor,
    negatives: Tensor | None = None,
    form: str = 'in',
    per_image: bool = False,
) -> Tensor:
    """InfoNCE of queries that have any number of positives, on unit vectors.

    With ``sum+`` the sum of ``exp(cosine / t)`` over a query's positives and ``sum-`` over its negatives, a
    query's term is ``-log(sum+ / (sum+ + sum-))``, the positives inside the logarithm (PixContrast, Xie et
    al., 2021, eq. 2, whose denominator is all keys); or ``mean_p -log(e^p / (sum+ + sum-))`` over its
    positives p, outside of it (SetSim, Wang et al., 2022), which is never smaller.

    Args:
        query: (N, C) or (B, N, C), normalised here.
        keys: (M, C) or (B, M, C), likewise; the keys of a query's own image.
        positives: bool (N, M) or (B, N, M).
        temperature: t > 0.
        negatives: (K, C), shared by all queries, normalised here; in their place, by default, the keys that
            are not a query's positives. Given some, those other keys do not enter at all (SetSim).
        form: where the sum over positives stands, ``'in'`` or ``'out'``.
        per_image: take the mean image by image, then over images, one without a positive counting 0 (SetSim's
            official code).

    Returns:
        Scalar, the mean over the queries that have a positive (of all images alike); 0 if there is none.
    """
    if query.ndim == 2:
        query, keys, positives = query[None], keys[None], positives[None]
    c = comparison(query, keys, Match(mask=positives))
    candidates = None if negatives is None else Candidates(unit(negatives).to(c.query.vectors.dtype))
    with torch.autocast(query.device.type, enabled=False):
        terms, counted, _ = plain_objective(temperature, batch='image', form=form).terms(c, candidates)
    terms = torch.where(counted, terms, 0.0)
    if per_image:
        return (terms.sum(-1) / counted.sum(-1).clamp(min=1)).mean()
    return terms.sum() / counted.sum().clamp(min=1)


@no_autocast
def triplet_margin(
    anchor: Tensor, positive: Tensor, negative: Tensor, margin: float, squared: bool = False
) -> Tensor:
    """Triplet loss ``max(0, d(a, p) - d(a, n) + margin)`` on unit vectors, mean over the triplets.

    Args:
        anchor: (N, C).
        positive: (N, C).
        negative: (N, C).
        margin: least difference wanted between the two distances.
        squared: squared Euclidean distances (FaceNet, Schroff et al., 2015, margin 0.2) instead of
            Euclidean ones; the values differ.

    Returns:
        Scalar. The gradient of a distance of zero is taken as zero.
    """
    return triplet_terms(unit(anchor), unit(positive), unit(negative), margin, squared).mean()
