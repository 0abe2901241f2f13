"""InfoNCE and its relatives on plain tensors: :class:`.InfoNCE` itself scores them.

Where nothing else is said, arguments are (N, C) vectors, normalised inside, row i of each of the same image;
``temperature`` is t > 0, a number or a tensor; and a scalar is returned, the mean over the queries, 0 where
there are no negatives. Functions of two views raise a ValueError where their shapes differ.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from densecl.numerics import full_precision, no_autocast, unit
from densecl.structures import Batch, Comparison, Match, Units

from ..candidates import Candidates
from ..contrast import InfoNCE
from ..masses import Debiased, Hard
from ..parts import Temperature
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
    """``-log( e^(q.k+ / t) / (e^(q.k+ / t) + sum_k e^(q.k / t)) )`` (van den Oord et al., 2018; MoCo, He et
    al., 2020, eq. 1), with (K, C) ``negatives`` that all queries share.
    """
    return tiled_info_nce(query, positive, negatives, temperature, None)


@no_autocast
def tiled_info_nce(
    query: Tensor, positive: Tensor, negatives: Tensor, temperature: float | Tensor, tile: int | None
) -> Tensor:
    """:func:`info_nce` with ``tile`` negatives in memory at a time; None: what is fast on the device."""
    candidates = Candidates(unit(negatives), tile=tile)
    return plain_objective(temperature).terms(comparison(query, positive), candidates)[0].mean()


def both_ways(view1: Tensor, view2: Tensor, temperature: float | Tensor, **kwargs) -> Tensor:
    """Mean over both directions of InfoNCE between two views."""
    if view1.shape != view2.shape:
        raise ValueError(
            f'view1 and view2 must hold the same images, row by row: got shapes {tuple(view1.shape)} '
            f'and {tuple(view2.shape)}'
        )
    objective = plain_objective(temperature, **kwargs)
    first, second = (objective.score(comparison(a, b))[0] for a, b in ((view1, view2), (view2, view1)))
    return (first + second) / 2


def nt_xent(view1: Tensor, view2: Tensor, temperature: float | Tensor) -> Tensor:
    """Normalised temperature-scaled cross entropy (SimCLR, Chen et al., 2020, eq. 1), mean over the 2N
    anchors.

    The negatives are both views of all other images. The official code returns twice this.
    """
    return both_ways(view1, view2, temperature, batch='views')


def moco_v3(
    query1: Tensor, query2: Tensor, key1: Tensor, key2: Tensor, temperature: float | Tensor
) -> Tensor:
    """MoCo v3's loss (Chen et al., 2021, algorithm 1), ``ctr(q1, k2) + ctr(q2, k1)``, of predictions and
    keys.

    ``ctr`` is InfoNCE times 2t, against the other view's keys of other images. Keys are not detached here.
    """
    objective = plain_objective(temperature, times_temperature=True)
    pairs = ((query1, key2), (query2, key1))
    return 2 * sum(objective.score(comparison(query, key))[0] for query, key in pairs)


def direct_clr(
    features1: Tensor, features2: Tensor, dimensions: int, temperature: float | Tensor
) -> Tensor:
    """DirectCLR (Jing et al., 2022): contrast the first ``dimensions`` channels of two views' pooled
    features.

    They are normalised by themselves; the negatives are the other view's. 360 of ResNet-50's 2048 in the
    paper.

    Raises:
        ValueError: where the features have fewer channels.
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
    """DCL and DCLW (Yeh et al., 2022, eq. 6): ``-w_i s_i+ / t + log sum_neg e^(s / t)``; it may be negative.

    The 2N - 2 negatives come from both views. ``w_i`` is 1, or with ``sigma`` (0.5 in the paper)
    ``2 - N softmax_i(s_i+ / sigma)``, through which no gradient flows where ``detach_weights``.
    """
    options = dict(batch='views', decoupled=True, sigma=sigma, detach_weights=detach_weights)
    return both_ways(view1, view2, temperature, **options)


def debiased_nt_xent(
    view1: Tensor, view2: Tensor, temperature: float | Tensor, positive_prior: float
) -> Tensor:
    """Debiased contrastive loss with one positive (Chuang et al., 2020, eq. 8).

    ``positive_prior`` in [0, 1): how probably a negative is of the anchor's class; with 0 it is NT-Xent.
    """
    return both_ways(view1, view2, temperature, batch='views', negatives=Debiased(positive_prior))


def hard_nt_xent(
    view1: Tensor, view2: Tensor, temperature: float | Tensor, positive_prior: float, concentration: float
) -> Tensor:
    """:func:`debiased_nt_xent` with negatives weighted by ``e^(concentration * s / t)`` (HCL, Robinson et
    al., 2021); the gradient goes through the weights, as in the official code.
    """
    negatives = Hard(positive_prior, concentration)
    return both_ways(view1, view2, temperature, batch='views', negatives=negatives)


def sup_con(
    features: Tensor, labels: Tensor, temperature: float | Tensor, form: str = 'out'
) -> Tensor:
    """Supervised contrastive loss (Khosla et al., 2020, eq. 2 ``'out'`` and eq. 3 ``'in'``) of all views,
    stacked.

    The positives of an anchor are all others of its (N,) label; the denominator has everything but itself. An
    anchor without positives adds 0 and counts in the mean. The official code multiplies by ``t / 0.07``.
    Labels are compared as they are: -1 is a class like any other.

    Raises:
        ValueError: for another ``form``.
    """
    if form not in ('out', 'in'):
        raise ValueError(f"sup_con: form must be 'out' or 'in', got {form!r}")
    form = 'in-mean' if form == 'in' else form  # eq. 3 has the mean inside of the logarithm
    return by_label(features, labels, unit(features), labels, temperature, form)


def sincere(features: Tensor, labels: Tensor, temperature: float | Tensor) -> Tensor:
    """:func:`sup_con` whose positives stand against the negatives alone, not against one another (SINCERE,
    Feeney and Hughes, 2023). Where an anchor has no positive, the official code gives NaN, this 0.
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
    """InfoNCE of (N, C) anchors, the first N of (K, C) keys, whose answers are all other keys of their label.
    """

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
    """InfoNCE of queries that have any number of positives among the keys of their image.

    With ``sum+`` the sum of ``e^(s / t)`` over a query's positives and ``sum-`` over its negatives:
    ``-log(sum+ / (sum+ + sum-))`` for ``'in'`` (PixContrast, Xie et al., 2021, eq. 2), or for ``'out'``
    ``mean_p -log(e^p / (sum+ + sum-))`` (SetSim, Wang et al., 2022), which is never smaller.

    Args:
        query: (N, C) or (B, N, C).
        keys: (M, C) or (B, M, C).
        positives: bool (N, M) or (B, N, M).
        temperature: t > 0.
        negatives: (K, C), shared by all queries; by default the keys that are not a query's positives. Given
            some, those other keys do not enter at all (SetSim).
        form: ``'in'`` or ``'out'``.
        per_image: mean over each image, then over images, one without a positive adding 0 (SetSim's code);
            else over the queries that have a positive.
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
    """``max(0, d(a, p) - d(a, n) + margin)``, mean over the triplets, with Euclidean distances of unit
    vectors, or ``squared`` ones (FaceNet, Schroff et al., 2015, margin 0.2). The gradient of a distance of
    zero is zero.
    """
    return triplet_terms(unit(anchor), unit(positive), unit(negative), margin, squared).mean()
