"""The mathematics of the objectives: plain tensors in, a scalar out.

Each is a thin call of what trains, so that a comparison with official code (``docs/objectives.md``) tests the
training path. It normalises inside where its paper does, computes in float32 whatever the autocast state
(float64 stays float64). Over several processes, give it tensors from :func:`densecl.distributed.gather`.

Where nothing else is said, arguments are (N, C) vectors, row i of each of the same image; ``temperature`` is
t > 0, a number or a tensor; and a scalar is returned, the mean over the queries, 0 where there are no
negatives. Functions of two views raise a ValueError where their shapes differ.
"""

from dataclasses import replace

import torch
from torch import Tensor

from densecl.models.targets.pixels import Pixels
from densecl.numerics import full_precision, no_autocast, unit
from densecl.structures import Comparison, Match

from .assignment import sinkhorn, swapped_prediction
from .candidates import Candidates, Scores
from .contrast import InfoNCE
from .cosine import Cosine
from .forms import contrastive_terms
from .in_context import in_context_terms, in_context_votes
from .koleo import koleo
from .masses import Debiased, Hard
from .neighbour_order import order_terms
from .objective import mean_of
from .queue_distillation import queue_divergence
from .reconstruction import Reconstruction
from .relations import Gram, KernelAlignment, SimilarityRows
from .self_distillation import masked_token_loss, self_distillation
from .sigmoid import others_of, sigmoid_terms
from .sorting import bitonic_network
from .statistics import barlow_twins, vicreg
from .triplet import triplet_terms

Number = float | Tensor
__all__ = [
    'barlow_twins',
    'clip_loss',
    'debiased_nt_xent',
    'decoupled',
    'direct_clr',
    'gram_loss',
    'hard_nt_xent',
    'in_context',
    'info_nce',
    'koleo',
    'masked_pixel_loss',
    'masked_token_loss',
    'moco_v3',
    'multi_positive_info_nce',
    'neco_loss',
    'negative_cosine',
    'nt_xent',
    'patch_kernel_alignment',
    'pixel_consistency',
    'pixel_contrast',
    'queue_distillation',
    'self_distillation',
    'siglip_loss',
    'simcse_loss',
    'similarity_distillation',
    'sincere',
    'sinkhorn',
    'sup_con',
    'swapped_prediction',
    'tiled_info_nce',
    'triplet_margin',
    'vicreg',
]


def plain_objective(temperature: Number, **kwargs) -> InfoNCE:
    """InfoNCE without a queue, of what this process is given alone."""
    objective = InfoNCE(queue=0, gathered=False, **{'batch': 'keys', **kwargs})
    objective.schedule = lambda _: temperature
    return objective


def info_nce(query: Tensor, positive: Tensor, negatives: Tensor, temperature: Number) -> Tensor:
    """``-log( e^(q.k+ / t) / (e^(q.k+ / t) + sum_k e^(q.k / t)) )`` (van den Oord et al., 2018; MoCo, He et
    al., 2020, eq. 1), with (K, C) ``negatives`` that all queries share.
    """
    return tiled_info_nce(query, positive, negatives, temperature, None)


@no_autocast
def tiled_info_nce(
    query: Tensor, positive: Tensor, negatives: Tensor, temperature: Number, tile: int | None
) -> Tensor:
    """:func:`info_nce` with ``tile`` negatives in memory at a time; None: what is fast on the device."""
    candidates = Candidates(unit(negatives), tile=tile)
    return plain_objective(temperature).terms(Comparison.of_rows(query, positive), candidates)[0].mean()


def both_ways(view1: Tensor, view2: Tensor, temperature: Number, **kwargs) -> Tensor:
    """Mean over both directions of InfoNCE between two views."""
    if view1.shape != view2.shape:
        raise ValueError(
            f'view1 and view2 must hold the same images, row by row: got shapes {tuple(view1.shape)} '
            f'and {tuple(view2.shape)}'
        )
    return both_pairs((view1, view2), (view1, view2), temperature, **kwargs) / 2


def both_pairs(queries: tuple[Tensor, Tensor], keys: tuple[Tensor, Tensor], temperature, **kwargs) -> Tensor:
    """Sum of InfoNCE of each view's queries with the other view's keys."""
    objective = plain_objective(temperature, **kwargs)
    pairs = zip(queries, reversed(keys), strict=True)
    return sum(objective.score(Comparison.of_rows(query, key))[0] for query, key in pairs)


def nt_xent(view1: Tensor, view2: Tensor, temperature: Number) -> Tensor:
    """Normalised temperature-scaled cross entropy (SimCLR, Chen et al., 2020, eq. 1), mean over 2N anchors,
    whose negatives are both views of all other images.
    """
    return both_ways(view1, view2, temperature, batch='views')


def moco_v3(query1: Tensor, query2: Tensor, key1: Tensor, key2: Tensor, temperature: Number) -> Tensor:
    """MoCo v3's loss of predictions and keys (Chen et al., 2021, algorithm 1), ``ctr(q1, k2) + ctr(q2, k1)``.

    ``ctr`` is InfoNCE times 2t, against the other view's keys of other images. Keys are not detached here.
    """
    return 2 * both_pairs((query1, query2), (key1, key2), temperature, times_temperature=True)


@no_autocast
def clip_loss(image: Tensor, text: Tensor, logit_scale: Number) -> Tensor:
    """CLIP (Radford et al., 2021, figure 3): mean of the cross entropies of ``scale * image @ text.T`` with
    the diagonal, over rows and over columns.

    (B, D) unit vectors, which are taken as they are; ``logit_scale`` is the scale, not its logarithm.
    """
    image, text = full_precision(image), full_precision(text)
    positive = logit_scale * (image * text).sum(1)
    sides = (
        others_of(image, text).logsumexp(image, logit_scale),
        others_of(text, image).logsumexp(text, logit_scale),
    )
    return sum(contrastive_terms(positive, lse).mean() for lse, _ in sides) / 2


@no_autocast
def siglip_loss(image: Tensor, text: Tensor, logit_scale: Number, logit_bias: Number) -> Tensor:
    """SigLIP (Zhai et al., 2023, eq. 1): ``-1 / B sum_ij log sigmoid(z_ij (scale x_i . y_j + bias))``.

    (B, D) unit vectors, which are taken as they are; ``logit_scale`` is the scale, not its logarithm.
    """
    image, text = full_precision(image), full_precision(text)
    scores = Scores(image, (image * text).sum(1), others_of(image, text), None, None)
    return sigmoid_terms(scores, logit_scale, logit_bias).mean()


def simcse_loss(
    first: Tensor,
    second: Tensor,
    hard: Tensor | None = None,
    temperature: Number = 0.05,
    hard_negative_weight: float = 0.0,
) -> Tensor:
    """SimCSE (Gao et al., 2021, eq. 1 and 5): each first vector against all seconds, and all hard negatives.

    One direction. ``hard_negative_weight`` is added to the logit of the hard negative of a text's own, which
    then counts e^weight times.
    """
    for name, given in (('second', second), ('hard', hard)):
        if given is not None and given.shape != first.shape:
            raise ValueError(
                f'simcse_loss: first and {name} must hold the same texts, row by row: got shapes '
                f'{tuple(first.shape)} and {tuple(given.shape)}'
            )
    keys = torch.stack([second] if hard is None else [second, hard], 1)
    answers = torch.zeros(len(first), 1, dtype=torch.int64, device=first.device)
    objective = plain_objective(
        temperature, batch='units', own_weight=0.0 if hard is None else hard_negative_weight
    )
    return objective.score(Comparison.of_sets(first[:, None], keys, answers))[0]


def direct_clr(features1: Tensor, features2: Tensor, dimensions: int, temperature: Number) -> Tensor:
    """DirectCLR (Jing et al., 2022): contrast the first ``dimensions`` channels of pooled features (360 of
    2048 in the paper) with the other view's. A ValueError where the features have fewer channels.
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
    temperature: Number,
    sigma: float | None = None,
    detach_weights: bool = False,
) -> Tensor:
    """DCL and DCLW (Yeh et al., 2022, eq. 6): ``-w_i s_i+ / t + log sum_neg e^(s / t)``; it may be negative.

    The 2N - 2 negatives come from both views. ``w_i`` is 1, or with ``sigma`` (0.5 in the paper)
    ``2 - N softmax_i(s_i+ / sigma)``, through which no gradient flows where ``detach_weights``.
    """
    options = dict(batch='views', decoupled=True, sigma=sigma, detach_weights=detach_weights)
    return both_ways(view1, view2, temperature, **options)


def debiased_nt_xent(view1: Tensor, view2: Tensor, temperature: Number, positive_prior: float) -> Tensor:
    """:func:`nt_xent` where a negative is of the anchor's class with probability ``positive_prior``, in
    [0, 1) (debiased contrastive loss, Chuang et al., 2020, eq. 8).
    """
    return both_ways(view1, view2, temperature, batch='views', negatives=Debiased(positive_prior))


def hard_nt_xent(
    view1: Tensor, view2: Tensor, temperature: Number, positive_prior: float, concentration: float
) -> Tensor:
    """:func:`debiased_nt_xent` with negatives weighted by ``e^(concentration * s / t)`` (HCL, Robinson et
    al., 2021); the gradient goes through the weights, as in the official code.
    """
    return both_ways(view1, view2, temperature, batch='views', negatives=Hard(positive_prior, concentration))


def sup_con(features: Tensor, labels: Tensor, temperature: Number, form: str = 'out') -> Tensor:
    """Supervised contrastive loss of all views (Khosla et al., 2020, eq. 2 ``'out'`` and eq. 3 ``'in'``).

    The positives of an anchor are all others of its (N,) label; the denominator has everything but itself. An
    anchor without positives adds 0 and counts in the mean. Labels are compared as they are: -1 is a class
    like any other. A ValueError for another ``form``.
    """
    if form not in ('out', 'in'):
        raise ValueError(f"sup_con: form must be 'out' or 'in', got {form!r}")
    # eq. 3 has the mean inside of the logarithm
    return by_label(features, labels, temperature, 'in-mean' if form == 'in' else form)


def sincere(features: Tensor, labels: Tensor, temperature: Number) -> Tensor:
    """:func:`sup_con`, each positive against the negatives alone (SINCERE, Feeney and Hughes, 2023)."""
    return by_label(features, labels, temperature, 'apart')


def pixel_contrast(
    embeddings: Tensor,
    labels: Tensor,
    temperature: Number,
    base_temperature: Number,
    keys: Tensor | None = None,
    key_labels: Tensor | None = None,
) -> Tensor:
    """:func:`sincere` times ``t / base``: pixel-wise supervised contrast (Wang et al., ICCV 2021, and code).

    ``-t / base * mean_p log( exp(s_ip / t) / (exp(s_ip / t) + sum_n exp(s_in / t)) )``: p are the other
    vectors of i's label, n those of other labels.

    Args:
        embeddings: (N, C), the anchors; with none of them the loss is 0, with zero gradient.
        labels: (N,) integers, compared as they are: leave ignored pixels out.
        temperature: t > 0; 0.1.
        base_temperature: 0.07.
        keys: (K, C), vectors that every anchor is compared with besides the other anchors; a memory.
        key_labels: (K,) their labels.

    Raises:
        ValueError: numbers of vectors and labels differ.
    """
    for name, vectors, given in (('embeddings', embeddings, labels), ('keys', keys, key_labels)):
        count = 0 if given is None else len(given)
        if vectors is not None and len(vectors) != count:
            raise ValueError(
                f'pixel_contrast: {name} has {len(vectors)} vectors, but there are {count} labels of them; '
                'pass one label a vector'
            )
    if not len(labels):
        return full_precision(embeddings).sum()
    memory = () if keys is None else (keys, key_labels)
    return temperature / base_temperature * by_label(embeddings, labels, temperature, 'apart', *memory)


@no_autocast
def by_label(features: Tensor, labels: Tensor, temperature: Number, form: str, *memory: Tensor) -> Tensor:
    """InfoNCE of (N, C) anchors, whose answers are the others of their (N,) label.

    ``memory``, where given, is (K, C) further keys and their (K,) labels.
    """
    none = torch.zeros(len(labels), 1, 1, dtype=torch.bool, device=labels.device)
    c = Comparison.of_rows(features, features)
    c.match = Match(
        mask=none, across=lambda candidates: lambda columns: labels[:, None] == candidates.labels[columns]
    )
    candidates = Candidates(unit(features), c.batch.numbers, own=c.batch.numbers, labels=labels)
    if memory:
        keys = unit(memory[0]).to(candidates.keys.dtype)
        candidates = Candidates(keys, labels=memory[1]).joined(candidates)
    terms, counted, _ = plain_objective(temperature, form=form).terms(c, candidates)
    return mean_of(terms, counted, 'rows')


@no_autocast
def multi_positive_info_nce(
    query: Tensor,
    keys: Tensor,
    positives: Tensor,
    temperature: Number,
    negatives: Tensor | None = None,
    form: str = 'in',
    per_image: bool = False,
) -> Tensor:
    """InfoNCE with any number of positives among the keys of a query's image; mean over queries with one.

    With ``sum+`` the sum of ``e^(s / t)`` over a query's positives and ``sum-`` over its negatives:
    ``-log(sum+ / (sum+ + sum-))`` for ``'in'`` (PixContrast, Xie et al., 2021, eq. 2), or for ``'out'``
    ``mean_p -log(e^p / (sum+ + sum-))`` (SetSim, Wang et al., 2022), which is never smaller.

    Args:
        query: (N, C) or (B, N, C).
        keys: (M, C) or (B, M, C).
        positives: bool (N, M) or (B, N, M).
        temperature: t > 0.
        negatives: (K, C), shared by all queries, in place of the keys that are not a query's positives
            (SetSim).
        form: ``'in'`` or ``'out'``.
        per_image: mean over each image, then over images, one without a positive adding 0 (SetSim's code).
    """
    if query.ndim == 2:
        query, keys, positives = query[None], keys[None], positives[None]
    candidates = None if negatives is None else Candidates(unit(negatives).to(full_precision(query).dtype))
    objective = plain_objective(temperature, batch='image', form=form)
    terms, counted, _ = objective.terms(Comparison.of_sets(query, keys, positives), candidates)
    if per_image:
        return mean_of(terms, counted, 'images')
    return torch.where(counted, terms, 0.0).sum() / counted.sum().clamp(min=1)


@no_autocast
def triplet_margin(
    anchor: Tensor, positive: Tensor, negative: Tensor, margin: float, squared: bool = False
) -> Tensor:
    """``max(0, d(a, p) - d(a, n) + margin)``, mean over the triplets, with Euclidean distances of unit
    vectors, or ``squared`` ones (FaceNet, Schroff et al., 2015, margin 0.2).
    """
    return triplet_terms(unit(anchor), unit(positive), unit(negative), margin, squared).mean()


def negative_cosine(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean negative cosine (SimSiam, Chen and He, 2021, eq. 1); nothing is detached."""
    return Cosine().score(Comparison.of_rows(prediction, target))[0]


def pixel_consistency(online: Tensor, target: Tensor, positives: Tensor) -> Tensor:
    """Minus the mean cosine of an image's positive pairs, mean over images (PixPro, Xie et al., 2021, eq. 5).

    (B, C, N) and (B, C, M) maps, and bool (B, N, M). Images without a positive pair count 0.
    """
    cells = online.transpose(1, 2), target.transpose(1, 2)
    return Cosine(mean='images').score(Comparison.of_sets(*cells, positives))[0]


def masked_pixel_loss(
    prediction: Tensor, images: Tensor, mask: Tensor, patch: int, normalise: bool = True
) -> Tensor:
    """Mean squared error of the pixels of masked patches (MAE, He et al., 2022, section 3).

    Args:
        prediction: (B, L, p * p * C), of each patch in the order row, column, channel; L = H / p * W / p.
        images: (B, C, H, W).
        mask: (B, L), 1 or True: masked; the mean is over all masked patches of the batch.
        patch: side p in pixels.
        normalise: compare with each patch normalised by its own mean and unbiased variance + 1e-6.
    """
    (answers,) = Pixels(patch, normalise)(images)
    index = torch.arange(prediction.shape[1], device=prediction.device).expand(len(prediction), -1)
    match = Match(index=index, valid=mask.bool())
    comparison = Comparison.of_sets(prediction, answers.flatten(2).transpose(1, 2))
    comparison.match = match
    return Reconstruction().score(comparison)[0]


def gram_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the cosines among an image's tokens, (B, N, C) and (B, N, D), over N x N
    pairs and images (DINOv3, Siméoni et al., 2025). Negative cosines stay as they are; nothing is detached.
    """
    if student.shape[:2] != teacher.shape[:2]:
        raise ValueError(
            'gram_loss: student and teacher must hold the same tokens, row by row: got shapes '
            f'{tuple(student.shape)} and {tuple(teacher.shape)}; bring both maps to one grid'
        )
    return Gram().score(Comparison.of_sets(student, teacher))[0]


def patch_kernel_alignment(student: Tensor, teacher: Tensor, ignore: Tensor | None = None) -> Tensor:
    """``1 - CKA`` of the linear kernels of an image's tokens (PaKA, Yeo et al., 2025).

    Args:
        student, teacher: (B, N, C) and (B, N, D), the same tokens; no gradient reaches the teacher.
        ignore: (B, N) bool, tokens that do not count; None: all count. The mean is over images with two
            tokens or more.
    """
    return KernelAlignment().score(_tokens(student, teacher, ignore))[0]


def similarity_distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL divergence of each token's similarities to all tokens of its image, mean over tokens.

    (B, N, C) and (B, N, D) unit vectors; the shares are ``softmax(similarities / temperature)``. No gradient
    reaches the teacher.
    """
    return SimilarityRows(temperature).score(_tokens(student, teacher))[0]


def _tokens(student: Tensor, teacher: Tensor, ignore: Tensor | None = None) -> Comparison:
    """Row with row; the teacher without gradient."""
    comparison = Comparison.of_sets(student, teacher.detach())
    if ignore is not None:
        comparison.match = replace(comparison.match, valid=~ignore)
    return comparison


def queue_distillation(student: Tensor, teacher: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """KL divergence of the student's nearness to a queue from the teacher's (SEED, Fang et al., 2021), mean
    over the batch: ``softmax(x queue^T / temperature)`` of (B, D), (B, D) and (K, D) unit vectors. No
    gradient reaches the teacher.
    """
    return queue_divergence(student, teacher, queue, temperature).mean()


def neco_loss(
    student: Tensor,
    teacher: Tensor,
    reference: Tensor,
    student_steepness: float,
    teacher_steepness: float,
) -> Tensor:
    """Cross entropy of the order in which references are near a patch (NeCo, Pariza et al., 2025), mean over
    patches and references.

    Args:
        student, teacher: (B, D, h, w), the same places.
        reference: (B, D, h', w'), the patches that are sorted, in ascending order of their cosine.
        student_steepness, teacher_steepness: > 0, of the comparators of the bitonic network.
    """
    sides = (x.flatten(2).mT for x in (student, teacher, reference))
    network = tuple(table.to(student.device) for table in bitonic_network(reference[0, 0].numel()))
    return order_terms(*sides, network, student_steepness, teacher_steepness).mean()


def in_context(
    query: Tensor, support: Tensor, labels: Tensor, support_labels: Tensor, temperature: Number
) -> Tensor:
    """Cross entropy of a token's labels and of those that the support votes for, as soft nearest neighbours
    by cosine (DIP, Sirko-Galouchenko et al., ICCV 2025); mean over the tokens with a label of the support.

    Args:
        query: (B, N, C).
        support: (B, P, C).
        labels: (B, N, K), how much of each token has each label.
        support_labels: (B, P, K); of tokens of other images, which have none of these labels, 0.
        temperature: t > 0.
    """
    votes = in_context_votes(query, support, support_labels, temperature)
    seen = (support_labels > 0).any(1, keepdim=True) & (labels > 0)
    return mean_of(in_context_terms(votes, labels, support_labels), seen.any(-1), 'counted')
