"""Predicting one view's assignment from another: SwAV's codes, DINO's centred softmax."""

from collections.abc import Sequence

import torch
from torch import Tensor

from densecl.distributed import all_gather
from densecl.numerics import full_precision, no_autocast


def log_shares(scores: Tensor, temperature: float | Tensor) -> Tensor:
    """The student's prediction: ``log softmax(scores / temperature)``."""
    return (full_precision(scores) / temperature).log_softmax(-1)


@torch.no_grad()
def sharpened(scores: Tensor, center: Tensor, temperature: float | Tensor) -> Tensor:
    """The teacher's target: ``softmax((scores - center) / temperature)``, without gradient."""
    return ((full_precision(scores) - center) / temperature).softmax(-1)


def cross_entropy(log_prediction: Tensor, target: Tensor) -> Tensor:
    """``-sum_k target_k * prediction_k`` of the last dimension, (..., K) -> (...)."""
    return -(target * log_prediction).sum(-1)


@torch.no_grad()
@no_autocast
def sinkhorn(scores: Tensor, epsilon: float, iterations: int, across_ranks: bool = False) -> Tensor:
    """Codes of equal use (SwAV, Caron et al., 2020, section 3.1, after Cuturi, 2013).

    Rows and columns of ``exp(scores / epsilon)`` are scaled in turn until every prototype gets about the
    same mass; the samples' step comes last, so only their sums are exact. In the log domain each step is a
    log-softmax (the constants 1/K and 1/B cancel), and no epsilon overflows or leaves a prototype empty.

    Args:
        scores: (B, K), cosines of samples and prototypes; of all processes together where ``across_ranks``.
        epsilon: > 0, smoothness; 0.05.
        iterations: >= 1, else a ValueError; 3.
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
    """Each view's (B, K) scores predict the other one's code of :func:`sinkhorn` (SwAV, eq. 1 and 2).

    The mean of both predictions: the paper's eq. 1 sums, the official code averages.
    """
    pairs = ((scores1, codes2), (scores2, codes1))
    terms = [cross_entropy(log_shares(x, temperature), full_precision(codes)) for x, codes in pairs]
    return torch.stack(terms).mean()


@no_autocast
def self_distillation(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    center: Tensor,
    student_temperature: float | Tensor,
    teacher_temperature: float | Tensor,
) -> Tensor:
    """Cross entropy of a sharpened, centred teacher and a student (DINO, Caron et al., 2021, eq. 1 and 3),
    mean over all pairs of a teacher crop and another student crop; a ValueError where there is none.

    Args:
        student: one (B, K) of logits a crop, those of the teacher's crops first.
        teacher: one (B, K) of logits a crop; no gradient reaches them.
        center: (K,) or (1, K), subtracted from the teacher's logits.
        student_temperature: > 0; 0.1.
        teacher_temperature: > 0; 0.04 to 0.07.
    """
    predictions = [log_shares(scores, student_temperature) for scores in student]
    targets = [sharpened(scores, center, teacher_temperature) for scores in teacher]
    terms = [
        cross_entropy(prediction, target).mean()
        for i, target in enumerate(targets)
        for v, prediction in enumerate(predictions)
        if v != i
    ]
    if not terms:
        raise ValueError(
            f'no crop has another one to predict: got {len(student)} student and {len(teacher)} teacher crops'
        )
    return torch.stack(terms).mean()
