"""Focal loss (Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, section 3)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ._precision import widen


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Fill ``output`` with the loss of every logit.

    Args:
        input: (N, C) logits.
        target: (N,) class index; C means background.
        weight: (C,) factor per target class, or empty. Background keeps the factor 1.
        output: (N, C), filled.
        gamma: Focusing exponent.
        alpha: Weight of the positive class.
    """
    logits, _, factor = _signed(input, target, weight, alpha)
    output.copy_(-factor * (-logits).sigmoid().pow(gamma) * F.logsigmoid(logits))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Fill ``grad_input`` (N, C) with d loss / d logit for a unit gradient of the loss."""
    logits, sign, factor = _signed(input, target, weight, alpha)
    p, q = logits.sigmoid(), (-logits).sigmoid()
    grad_input.copy_(-sign * factor * q.pow(gamma) * (q - gamma * p * F.logsigmoid(logits)))


def _signed(input: Tensor, target: Tensor, weight: Tensor, alpha: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the logits of the truth, their sign (1 or -1) and the factor of each loss, (N, C) each."""
    logits = widen(input)
    positive = _one_hot(target, logits)
    sign = 2 * positive.to(logits.dtype) - 1
    factor = torch.where(positive, logits.new_full((), alpha), 1 - alpha)
    return sign * logits, sign, factor * _sample_weight(weight, target, logits)


def softmax_focal_loss_forward(
    input_softmax: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Fill ``output`` (N,) with the loss of every sample.

    Args:
        input_softmax: (N, C) class probabilities.
        target: (N,) class index; negative means ignored.
        weight: (C,) factor per target class, or empty.
        output: (N,), filled.
        gamma: Focusing exponent.
        alpha: Factor of the entire loss.
    """
    p, log_p = _target_probability(input_softmax, target)
    loss = -alpha * (1 - p).pow(gamma) * log_p
    loss = loss * _sample_weight(weight, target, p)[:, 0]
    output.copy_(torch.where(target >= 0, loss, torch.zeros_like(loss)))


def softmax_focal_loss_backward(
    input_softmax: Tensor, target: Tensor, weight: Tensor, buff: Tensor, grad_input: Tensor, gamma: float,
    alpha: float,
) -> None:  # fmt: skip
    """Fill ``grad_input`` (N, C) with d loss / d logit; ``buff`` (N,) holds p d loss / d p."""
    p, log_p = _target_probability(input_softmax, target)
    q = 1 - p
    slope = alpha * (gamma * q.pow(gamma - 1) * p * log_p - q.pow(gamma))
    slope = slope * _sample_weight(weight, target, p)[:, 0]
    # q = 0 with gamma < 1 would give 0 * inf; the loss is flat there.
    slope = torch.where((target >= 0) & (q > 0), slope, torch.zeros_like(slope))
    buff.copy_(slope)
    probabilities = widen(input_softmax)
    indicator = _one_hot(target, probabilities).to(probabilities.dtype)
    grad_input.copy_(slope[:, None] * (indicator - probabilities))


def _one_hot(target: Tensor, logits: Tensor) -> Tensor:
    """Return (N, C) bool, true where the column is the row's class."""
    return target[:, None] == torch.arange(logits.size(1), device=logits.device)


def _sample_weight(weight: Tensor, target: Tensor, like: Tensor) -> Tensor:
    """Return (N, 1) weights; 1 without ``weight`` and for targets outside its classes."""
    if weight.numel() == 0:
        return like.new_ones(1, 1)
    inside = (target >= 0) & (target < len(weight))
    picked = weight.to(like.dtype)[target.clamp(0, len(weight) - 1)]
    return torch.where(inside, picked, torch.ones_like(picked))[:, None]


def _target_probability(input_softmax: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the (N,) probability of the target class and its logarithm."""
    probabilities = widen(input_softmax)
    p = probabilities.gather(1, target.clamp(min=0)[:, None])[:, 0]
    return p, p.clamp(min=torch.finfo(p.dtype).tiny).log()
