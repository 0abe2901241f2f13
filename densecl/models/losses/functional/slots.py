"""Cells grouped by learned slots, and slots told apart: SlotCon."""

import torch
from torch import Tensor

from ..kernel import similarity_logsumexp
from .precision import full_precision, no_autocast, unit


@no_autocast
def slot_attention(
    maps: Tensor, slots: Tensor, temperature: float | Tensor, epsilon: float = 1e-6
) -> tuple[Tensor, Tensor]:
    """Slots compete for cells, then take the mean of what they got (SlotCon, Wen et al., 2022, eq. 1 and 5).

    The competition is between the unit vectors of cells and slots; the mean is of the cells' vectors as they
    are.

    Args:
        maps: (B, C, H, W), projected cells.
        slots: (K, C), the learned prototypes.
        temperature: > 0, of the softmax over the slots; 0.07.
        epsilon: added to each cell's share, so that a slot without any cell has a mean too.

    Returns:
        vectors: (B, K, C), the mean of each slot's cells.
        scores: (B, K, H, W), cosines of slots and cells.
    """
    cells = full_precision(maps).flatten(2)  # (B, C, H*W)
    scores = torch.einsum('kc,bcn->bkn', unit(slots), unit(cells, dim=1))
    shares = (scores / temperature).softmax(1) + epsilon
    shares = shares / shares.sum(2, keepdim=True)
    vectors = torch.einsum('bkn,bcn->bkc', shares, cells)
    return vectors, scores.unflatten(2, maps.shape[2:])


@torch.no_grad()
def active_slots(scores: Tensor) -> Tensor:
    """Which slots have the best score in at least one cell, (B, K, H, W) -> bool (B, K)."""
    best = scores.flatten(2).argmax(1)  # (B, H*W)
    active = torch.zeros(scores.shape[:2], dtype=torch.bool, device=scores.device)
    return active.scatter_(1, best, True)


@no_autocast
def grouping_targets(teacher: Tensor, center: Tensor, temperature: float | Tensor) -> Tensor:
    """Assignments that the student shall predict: the teacher's scores, centred and sharpened.

    Args:
        teacher: (B, K, H, W) scores; no gradient reaches them.
        center: (K,) or (1, K), subtracted from the scores.
        temperature: > 0; 0.07.

    Returns:
        (B, K, H, W), each cell's sum to 1.
    """
    centred = full_precision(teacher.detach()) - center.view(1, -1, 1, 1)
    return (centred / temperature).softmax(1)


@no_autocast
def grouping_consistency(
    student: Tensor, targets: Tensor, temperature: float | Tensor
) -> Tensor:
    """Cross entropy of assignments of the same places in two views (SlotCon, eq. 3).

    Args:
        student: (B, K, H, W) scores, at the places of the targets.
        targets: (B, K, H, W), of :func:`grouping_targets`.
        temperature: > 0, of the student; 0.1.

    Returns:
        (B,), the mean over each image's cells.
    """
    log_shares = (full_precision(student) / temperature).log_softmax(1)
    return -(targets * log_shares).sum(1).mean((1, 2))


@no_autocast
def slot_contrast(
    predictions: Tensor, keys: Tensor, positions: Tensor, temperature: float | Tensor
) -> Tensor:
    """InfoNCE among slots, times ``2 * temperature`` (SlotCon, eq. 6; the factor is the official code's).

    Args:
        predictions: (N, C), of the slots that are active in both views.
        keys: (M, C), the teacher's active slots of all images; give them without gradient.
        positions: (N,) int64, the row of ``keys`` with the same slot of the same image; every other row is a
            negative, be it another slot of the image or the same slot in another image.
        temperature: t > 0; 0.2.

    Returns:
        (N,), a term a prediction.
    """
    query, keys = unit(predictions) / temperature, unit(keys)
    everything, _ = similarity_logsumexp(query, keys)
    return 2 * temperature * (everything - (query * keys[positions]).sum(-1))
