"""Predicting one view's assignment from another: SwAV's codes, DINO's centred softmax."""

from collections.abc import Sequence

import torch
from torch import Tensor

from densecl.distributed import all_gather

from .precision import full_precision, no_autocast


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """``-sum_k targets_k log softmax(logits)_k``, mean over the rows.

    Args:
        logits: (B, K), already divided by the temperature.
        targets: (B, K), non-negative.

    Returns:
        Scalar.
    """
    return -(targets * logits.log_softmax(-1)).sum(-1).mean()


@torch.no_grad()
@no_autocast
def sinkhorn(
    scores: Tensor, epsilon: float, iterations: int, across_ranks: bool = False
) -> Tensor:
    """Codes of equal use (SwAV, Caron et al., 2020, section 3.1, after Cuturi, 2013).

    Rows and columns of ``exp(scores / epsilon)`` are scaled in turn until every prototype gets about the
    same mass; the samples' step comes last, so only their sums are exact. In the log domain each step is a
    log-softmax (the constants 1/K and 1/B cancel), and no epsilon overflows or leaves a prototype empty.

    Args:
        scores: (B, K), cosines of samples and prototypes.
        epsilon: > 0, smoothness; 0.05.
        iterations: >= 1; 3.
        across_ranks: the batch is that of all processes, each of which holds B rows.

    Returns:
        (B, K), rows sum to 1, without gradient.

    Raises:
        ValueError: where ``iterations`` is below 1.
    """
    if iterations < 1:
        raise ValueError(f'sinkhorn: iterations must be at least 1, got {iterations}')
    log_codes = full_precision(scores) / epsilon
    for _ in range(iterations):
        mass = log_codes.logsumexp(0, keepdim=True)  # of each prototype, (1, K)
        if across_ranks:
            mass = all_gather(mass).logsumexp(0, keepdim=True)
        log_codes = (log_codes - mass).log_softmax(1)
    return log_codes.exp()


@no_autocast
def swapped_prediction(
    scores1: Tensor, scores2: Tensor, codes1: Tensor, codes2: Tensor, temperature: float | Tensor
) -> Tensor:
    """Each view predicts the other one's code (SwAV, Caron et al., 2020, eq. 1 and 2).

    Args:
        scores1: (B, K), cosines of view 1 with the prototypes.
        scores2: (B, K), of view 2.
        codes1: (B, K), of view 1 from :func:`sinkhorn`; predicted from ``scores2``.
        codes2: (B, K), of view 2; predicted from ``scores1``.
        temperature: t > 0; 0.1.

    Returns:
        Scalar, the mean of both predictions (the paper's eq. 1 sums, the official code averages).
    """
    first = soft_cross_entropy(full_precision(scores1) / temperature, full_precision(codes2))
    second = soft_cross_entropy(full_precision(scores2) / temperature, full_precision(codes1))
    return (first + second) / 2


@no_autocast
def self_distillation(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    center: Tensor,
    student_temperature: float | Tensor,
    teacher_temperature: float | Tensor,
) -> Tensor:
    """Cross entropy of a sharpened, centred teacher and a student (DINO, Caron et al., 2021, eq. 1 and 3).

    Args:
        student: one (B, K) of logits a crop, those of the teacher's crops first.
        teacher: one (B, K) of logits a crop; no gradient reaches them.
        center: (K,) or (1, K), subtracted from the teacher's logits.
        student_temperature: > 0; 0.1.
        teacher_temperature: > 0; 0.04 to 0.07.

    Returns:
        Scalar, the mean over all pairs of a teacher crop and another student crop.

    Raises:
        ValueError: where there is no such pair.
    """
    centred = [full_precision(logits.detach()) - center for logits in teacher]
    targets = [(logits / teacher_temperature).softmax(-1) for logits in centred]
    return swapped_crops(student, targets, student_temperature)


@no_autocast
def swapped_crops(
    scores: Sequence[Tensor], codes: Sequence[Tensor], temperature: float | Tensor
) -> Tensor:
    """Every crop predicts the codes of the other ones (SwAV, Caron et al., 2020, eq. 6).

    With two crops that is :func:`swapped_prediction`.

    Args:
        scores: V of (B, K), cosines of each crop with the prototypes, or other logits.
        codes: A <= V of (B, K), the codes of the first A crops.
        temperature: t > 0.

    Returns:
        Scalar, the mean over the A (V - 1) pairs of a code and another crop.

    Raises:
        ValueError: where there is no such pair.
    """
    if not codes or len(scores) < 2:
        raise ValueError(
            'no crop has another one to predict: got '
            f'{len(scores)} student and {len(codes)} teacher crops'
        )
    total = 0.0
    for crop, logits in enumerate(scores):
        others = [code for i, code in enumerate(codes) if i != crop]
        if others:
            # The cross entropy is linear in its target: one log-softmax serves all codes.
            total = total + soft_cross_entropy(full_precision(logits) / temperature, sum(others))
    return total / (len(codes) * (len(scores) - 1))
