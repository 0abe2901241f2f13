"""The objectives as plain functions: tensors in, a scalar out.

Each function only calls the code that trains. So a comparison with official code (``docs/objectives.md``)
tests the training path. A function normalises vectors if its paper does. It computes in float32 also under
autocast; float64 stays float64. With several processes, give it tensors from
:func:`densecl.distributed.gather`.

Unless a docstring says otherwise, arguments are vectors (N, C), and row i of each is of the same image.
``temperature`` is t > 0, a number or a tensor. The result is a scalar, the mean over the queries, 0 without
negatives. Functions of two views raise a ValueError if their shapes differ.
"""

from dataclasses import replace

import torch
from torch import Tensor

from densecl.messages import check_choice
from densecl.models.patches import normalised_patches, patches_of
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
    """InfoNCE without a queue, with candidates of this process only."""
    objective = InfoNCE(queue=0, gathered=False, **{'batch': 'keys', **kwargs})
    objective.schedule = lambda _: temperature  # here it may be a tensor, also one with gradient
    return objective


def info_nce(query: Tensor, positive: Tensor, negatives: Tensor, temperature: Number) -> Tensor:
    """``-log( e^(q.k+ / t) / (e^(q.k+ / t) + sum_k e^(q.k / t)) )`` (van den Oord et al., 2018; MoCo, He et
    al., 2020, eq. 1). All queries share the ``negatives`` (K, C).
    """
    return tiled_info_nce(query, positive, negatives, temperature, None)


@no_autocast
def tiled_info_nce(
    query: Tensor, positive: Tensor, negatives: Tensor, temperature: Number, tile: int | None
) -> Tensor:
    """:func:`info_nce` with ``tile`` negatives in memory at a time; None: chosen for speed on the device."""
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
    """Normalised temperature-scaled cross entropy (SimCLR, Chen et al., 2020, eq. 1), mean over 2N anchors.

    The negatives of an anchor are both views of all other images.
    """
    return both_ways(view1, view2, temperature, batch='views')


def moco_v3(query1: Tensor, query2: Tensor, key1: Tensor, key2: Tensor, temperature: Number) -> Tensor:
    """MoCo v3's loss of predictions and keys (Chen et al., 2021, algorithm 1), ``ctr(q1, k2) + ctr(q2, k1)``.

    ``ctr`` is InfoNCE times 2t; its negatives are the other view's keys of other images. Keys are not
    detached here.
    """
    return 2 * both_pairs((query1, query2), (key1, key2), temperature, times_temperature=True)


@no_autocast
def clip_loss(image: Tensor, text: Tensor, logit_scale: Number) -> Tensor:
    """CLIP (Radford et al., 2021, figure 3): cross entropy of ``scale * image @ text.T`` with the diagonal as
    the correct answers, mean over rows and over columns.

    ``image`` and ``text`` are unit vectors (B, D); they are not normalised here. ``logit_scale`` is the
    scale, not its logarithm.
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

    ``image`` and ``text`` are unit vectors (B, D); they are not normalised here. z is 1 for i = j, else -1.
    ``logit_scale`` is the scale, not its logarithm.
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
    """SimCSE (Gao et al., 2021, eq. 1 and 5): InfoNCE of ``first`` with all ``second`` and all ``hard``.

    The loss has one direction. ``hard_negative_weight`` is added to the logit of a text's own hard negative,
    which then counts e^weight times.
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
    """DirectCLR (Jing et al., 2022): InfoNCE on the first ``dimensions`` channels of pooled features (360 of
    2048 in the paper). A ValueError if the features have fewer channels.
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
    ``2 - N softmax_i(s_i+ / sigma)``. With ``detach_weights`` no gradient flows through ``w_i``.
    """
    options = dict(batch='views', decoupled=True, sigma=sigma, detach_weights=detach_weights)
    return both_ways(view1, view2, temperature, **options)


def debiased_nt_xent(view1: Tensor, view2: Tensor, temperature: Number, positive_prior: float) -> Tensor:
    """:func:`nt_xent`, corrected for false negatives (debiased contrastive loss, Chuang et al., 2020, eq. 8).

    ``positive_prior``, in [0, 1), is the probability that a negative is of the anchor's class.
    """
    return both_ways(view1, view2, temperature, batch='views', negatives=Debiased(positive_prior))


def hard_nt_xent(
    view1: Tensor, view2: Tensor, temperature: Number, positive_prior: float, concentration: float
) -> Tensor:
    """:func:`debiased_nt_xent` with negatives weighted by ``e^(concentration * s / t)`` (HCL, Robinson et
    al., 2021). The gradient flows through the weights, as in the official code.
    """
    return both_ways(view1, view2, temperature, batch='views', negatives=Hard(positive_prior, concentration))


def sup_con(features: Tensor, labels: Tensor, temperature: Number, form: str = 'out') -> Tensor:
    """Supervised contrastive loss of all views (Khosla et al., 2020, eq. 2 ``'out'`` and eq. 3 ``'in'``).

    The positives of an anchor are all other rows with its label; ``labels`` is (N,). The denominator has all
    rows except the anchor. An anchor without positives adds 0 and counts in the mean. No label is special: -1
    is a class like any other. A ValueError for another ``form``.
    """
    check_choice('sup_con: form', form, ('out', 'in'))
    # in eq. 3 the mean is inside the logarithm
    return by_label(features, labels, temperature, 'in-mean' if form == 'in' else form)


def sincere(features: Tensor, labels: Tensor, temperature: Number) -> Tensor:
    """:func:`sup_con`, but the denominator of a positive has only this positive and the negatives (SINCERE,
    Feeney and Hughes, 2023)."""
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

    ``-t / base * mean_p log( exp(s_ip / t) / (exp(s_ip / t) + sum_n exp(s_in / t)) )``, where p are the other
    vectors with i's label, and n those with other labels.

    Args:
        embeddings: (N, C), the anchors; for N = 0 the loss is 0, with zero gradient.
        labels: (N,) integers. No label is special: leave ignored pixels out.
        temperature: t > 0; usually 0.1.
        base_temperature: usually 0.07.
        keys: (K, C), a memory: further vectors with which every anchor is compared.
        key_labels: (K,), their labels.

    Raises:
        ValueError: the numbers of vectors and labels differ.
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
    """InfoNCE of anchors (N, C); the answers of an anchor are the other rows with its label (N,).

    ``memory``, if given, is further keys (K, C) and their labels (K,).
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
    """InfoNCE with any number of positives among the keys of a query's image.

    ``sum+`` is the sum of ``e^(s / t)`` over a query's positives, ``sum-`` that over its negatives. The loss
    is ``-log(sum+ / (sum+ + sum-))`` for ``'in'`` (PixContrast, Xie et al., 2021, eq. 2). For ``'out'`` it is
    ``mean_p -log(e^p / (sum+ + sum-))`` (SetSim, Wang et al., 2022), which is never smaller. The mean is over
    the queries with a positive.

    Args:
        query: (N, C) or (B, N, C).
        keys: (M, C) or (B, M, C).
        positives: bool (N, M) or (B, N, M).
        temperature: t > 0.
        negatives: (K, C), shared by all queries. They replace the keys that are not a query's positives
            (SetSim).
        form: ``'in'`` or ``'out'``.
        per_image: mean over each image, then over images; an image without a positive adds 0 (SetSim's code).
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
    """``max(0, d(a, p) - d(a, n) + margin)``, mean over the triplets (FaceNet, Schroff et al., 2015, margin
    0.2). d is the Euclidean distance of unit vectors, with ``squared`` its square.
    """
    return triplet_terms(unit(anchor), unit(positive), unit(negative), margin, squared).mean()


def negative_cosine(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean negative cosine (SimSiam, Chen and He, 2021, eq. 1). No side is detached."""
    return Cosine().score(Comparison.of_rows(prediction, target))[0]


def pixel_consistency(online: Tensor, target: Tensor, positives: Tensor) -> Tensor:
    """Negative mean cosine of an image's positive pairs, mean over images (PixPro, Xie et al., 2021, eq. 5).

    ``online`` is (B, C, N), ``target`` (B, C, M), ``positives`` (B, N, M) bool. An image without a positive
    pair adds 0.
    """
    cells = online.transpose(1, 2), target.transpose(1, 2)
    return Cosine(mean='images').score(Comparison.of_sets(*cells, positives))[0]


def masked_pixel_loss(
    prediction: Tensor, images: Tensor, mask: Tensor, patch: int, normalise: bool = True
) -> Tensor:
    """Mean squared error of the pixels of masked patches (MAE, He et al., 2022, section 3).

    Args:
        prediction: (B, L, p * p * C), L = H / p * W / p patches, pixels in the order row, column, channel.
        images: (B, C, H, W).
        mask: (B, L), 1 or True for masked patches. The mean is over all masked patches of the batch.
        patch: side p in pixels.
        normalise: normalise each patch of the images by its own mean and unbiased variance + 1e-6.
    """
    answers = patches_of(full_precision(images), patch)
    answers = normalised_patches(answers) if normalise else answers
    index = torch.arange(prediction.shape[1], device=prediction.device).expand(len(prediction), -1)
    match = Match(index=index, valid=mask.bool())
    comparison = Comparison.of_sets(prediction, answers.flatten(2).transpose(1, 2))
    comparison.match = match
    return Reconstruction().score(comparison)[0]


def gram_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the cosines between an image's tokens, over N x N pairs and images (DINOv3,
    Siméoni et al., 2025).

    ``student`` is (B, N, C), ``teacher`` (B, N, D). Negative cosines are not clamped; no side is detached.
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
        ignore: (B, N) bool, tokens that do not count; None: all count. The mean is over images with at least
            two tokens that count.
    """
    return KernelAlignment().score(_tokens(student, teacher, ignore))[0]


def similarity_distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL divergence of each token's similarities to all tokens of its image, mean over tokens.

    ``student`` is (B, N, C), ``teacher`` (B, N, D), unit vectors. The compared distributions are
    ``softmax(similarities / temperature)``. No gradient reaches the teacher.
    """
    return SimilarityRows(temperature).score(_tokens(student, teacher))[0]


def _tokens(student: Tensor, teacher: Tensor, ignore: Tensor | None = None) -> Comparison:
    """A comparison of row i with row i; the teacher has no gradient."""
    comparison = Comparison.of_sets(student, teacher.detach())
    if ignore is not None:
        comparison.match = replace(comparison.match, valid=~ignore)
    return comparison


def queue_distillation(student: Tensor, teacher: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """KL divergence between the similarities of teacher and student to a queue (SEED, Fang et al., 2021).

    The compared distributions are ``softmax(x queue^T / temperature)``. ``student`` and ``teacher`` are
    (B, D), ``queue`` (K, D), unit vectors. The mean is over the batch. No gradient reaches the teacher.
    """
    return queue_divergence(student, teacher, queue, temperature).mean()


def neco_loss(
    student: Tensor,
    teacher: Tensor,
    reference: Tensor,
    student_steepness: float,
    teacher_steepness: float,
) -> Tensor:
    """Cross entropy between the orders of references, sorted by their cosine with a patch (NeCo, Pariza et
    al., 2025), mean over patches and references.

    Args:
        student, teacher: (B, D, h, w), the same places.
        reference: (B, D, h', w'), the patches that are sorted, in ascending order of the cosine.
        student_steepness, teacher_steepness: > 0, of the comparators of the bitonic network.
    """
    sides = (x.flatten(2).mT for x in (student, teacher, reference))
    network = tuple(table.to(student.device) for table in bitonic_network(reference[0, 0].numel()))
    return order_terms(*sides, network, student_steepness, teacher_steepness).mean()


def in_context(
    query: Tensor, support: Tensor, labels: Tensor, support_labels: Tensor, temperature: Number
) -> Tensor:
    """Cross entropy of a token's labels with the votes of its soft nearest neighbours (DIP,
    Sirko-Galouchenko et al., ICCV 2025).

    Neighbours are tokens of the support, weighted by their cosine with the token. The mean is over tokens
    with a label that the support has.

    Args:
        query: (B, N, C).
        support: (B, P, C).
        labels: (B, N, K), the share of each token that has each label.
        support_labels: (B, P, K), the same for the support; 0 for tokens of other images, which have none of
            these labels.
        temperature: t > 0.
    """
    votes = in_context_votes(query, support, support_labels, temperature)
    seen = (support_labels > 0).any(1, keepdim=True) & (labels > 0)
    return mean_of(in_context_terms(votes, labels, support_labels), seen.any(-1), 'counted')
