"""Losses that compare the similarities between the units of an image in two encoders.

Only these similarities are compared. So the two sides may differ in width, and a rotation of one side has no
effect. Such a loss can anchor the deepest level of a network to a frozen encoder.
"""

import torch
from torch import Tensor

from densecl.numerics import cosines, full_precision, no_autocast
from densecl.registry import MODELS
from densecl.structures import Comparison

from .assignment import divergence
from .objective import Objective, mean_of


@no_autocast
def gram_distance(first: Tensor, second: Tensor, valid: Tensor) -> Tensor:
    """Mean squared difference of the cosines between the N units of each image.

    Args:
        first: (B, N, C).
        second: (B, N, D), row i the same unit as row i of ``first``.
        valid: (B, N) bool, the units that count.

    Returns:
        (B,), in [0, 4]; 0 for an image without units that count.
    """
    difference = cosines(first) - cosines(second)
    pairs = valid[:, :, None] & valid[:, None]
    total = torch.where(pairs, difference.square(), 0.0).sum((1, 2))
    return total / pairs.sum((1, 2)).clamp(min=1)


@no_autocast
def centred_alignment(first: Tensor, second: Tensor, valid: Tensor) -> Tensor:
    """Linear CKA of the units of each image (Kornblith et al., 2019, section 3).

    ``<K, L> / (|K| |L|)`` of the centred kernels ``K = F F^T`` and ``L = G G^T``, with the Frobenius product
    and norm. A rotation or a scale factor of either side does not change it. The arguments are those of
    :func:`gram_distance`.

    Returns:
        (B,), in [0, 1]; 0, without gradient, for an image whose units are all equal on one side.
    """
    kernels = [_centred_kernel(full_precision(x), valid) for x in (first, second)]
    products = [(a * b).sum((1, 2)) for a, b in ((kernels[0], kernels[1]), *((k, k) for k in kernels))]
    tiny = torch.finfo(products[0].dtype).tiny ** 0.5
    return products[0] / (products[1].clamp(min=tiny).sqrt() * products[2].clamp(min=tiny).sqrt())


def _centred_kernel(x: Tensor, valid: Tensor) -> Tensor:
    counted = valid[..., None]
    x = torch.where(counted, x, 0.0)
    mean = x.sum(1, keepdim=True) / counted.sum(1, keepdim=True).clamp(min=1)
    x = torch.where(counted, x - mean, 0.0)
    return x @ x.mT


@no_autocast
def row_divergence(student: Tensor, teacher: Tensor, valid: Tensor, temperature: float) -> Tensor:
    """KL divergence of a unit's similarities to all units of its image, also to itself, as a softmax.

    ``sum_j p_ij log(p_ij / q_ij)`` with ``p_i = softmax_j(cos(t_i, t_j) / temperature)`` of the teacher t; q
    is the same of the student.

    Args:
        student: (B, N, C).
        teacher: (B, N, D), row i the same unit as row i of ``student``; no gradient reaches it.
        valid: (B, N) bool, the units that count.
        temperature: > 0.

    Returns:
        (B, N), 0 for a unit that does not count.
    """
    counted = valid[:, None] | ~valid.any(1)[:, None, None]  # an image without units counts all: no NaN
    prediction, target = (
        (cosines(x) / temperature).masked_fill(~counted, -torch.inf).log_softmax(-1)
        for x in (student, teacher.detach())
    )
    return torch.where(valid, divergence(prediction, target, counted), 0.0)


class _Relations(Objective):
    """Base class of the objectives here: row i is compared with row i, image by image."""

    needs = frozenset({'several', 'one answer'})

    def score(self, comparison: Comparison) -> tuple[Tensor, dict[str, Tensor]]:
        match = comparison.match
        answers = match.sum_of(comparison.key.vectors)
        return self.of(comparison.query.compared, answers, match.found()), {}

    def of(self, query: Tensor, answers: Tensor, valid: Tensor) -> Tensor:
        """The loss of ``query`` (B, N, C), ``answers`` (B, N, D) and ``valid`` (B, N) bool."""
        raise NotImplementedError


@MODELS.register_module()
class Gram(_Relations):
    """Mean squared difference of the cosines between the units of an image (DINOv3, Siméoni et al., 2025).

    With a frozen key it keeps the query's similarities near those of the key. Negative cosines are not
    clamped. The mean is over images; one without units adds 0. The key of a larger view is resized to the
    query's grid with ``units=dict(type='Cells', grid=14, resize='bicubic')``.
    """

    def of(self, query, answers, valid):
        return gram_distance(query, answers, valid).mean()


@MODELS.register_module()
class KernelAlignment(_Relations):
    """``1 - CKA`` of the units of an image (PaKA, Yeo et al., 2025); see :func:`centred_alignment`.

    The mean is over the images of all processes with at least two units; 0 if there are none.
    """

    def of(self, query, answers, valid):
        terms = 1 - centred_alignment(query, answers, valid)
        return mean_of(terms[:, None], valid.sum(1, keepdim=True) > 1, 'counted')


@MODELS.register_module()
class SimilarityRows(_Relations):
    """A unit's similarities to the units of its image, as a softmax, learn to equal those of its answer.

    See :func:`row_divergence`. The mean is over units; a unit without an answer does not count.

    Args:
        temperature: > 0; 0.07.
    """

    def __init__(self, temperature: float = 0.07) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f'SimilarityRows: temperature must be > 0, got {temperature}')
        self.temperature = temperature

    def of(self, query, answers, valid):
        return mean_of(row_divergence(query, answers, valid, self.temperature), valid, 'counted')
