"""Losses with codes: class numbers from the key side, and the code vectors that replace embeddings."""

import torch
import torch.nn.functional as F
from torch import Tensor

from densecl.messages import check_choice
from densecl.numerics import full_precision, no_autocast
from densecl.registry import MODELS
from densecl.structures import Comparison

from .objective import Objective, mean_of, own_mean


@MODELS.register_module()
class CodeCrossEntropy(Objective):
    """Cross-entropy of each unit's K logits with the code of its answer (BEiT, Bao et al., ICLR 2022).

    The key's vectors are numbers of codes, (B, M, 1), from 0 to K - 1. They come from
    :class:`~densecl.models.targets.KMeansTokens` or :class:`~densecl.models.targets.VQKDTokens`, or are the
    answers of a pretext task (:class:`~densecl.models.targets.Known`).

    Args:
        mean: ``'counted'``: over the counted units of all processes; ``'images'``: over the counted units of
            each image, then over images.
    """

    needs = frozenset({'one answer', 'rows'})  # numbers of codes cannot be interpolated

    def __init__(self, mean: str = 'counted') -> None:
        super().__init__()
        self.mean = check_choice('CodeCrossEntropy: mean', mean, ('counted', 'images'))

    def score(self, comparison: Comparison) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss; ``accuracy``, the share of units whose code has the largest logit; and ``frequent``, the
        share of the most frequent code, which is the accuracy of always predicting that code."""
        logits = full_precision(comparison.query.compared)
        codes = _codes(comparison, logits.shape[-1])
        terms = F.cross_entropy(logits.transpose(1, 2), codes, reduction='none')
        counted = comparison.match.found()
        hits = (logits.detach().argmax(-1) == codes).to(terms.dtype)
        log = {'accuracy': own_mean(hits, counted), 'frequent': _most_frequent(codes, counted, logits)}
        return mean_of(terms, counted, self.mean), log


def _codes(comparison: Comparison, logits: int) -> Tensor:
    """The code of each unit's answer, (B, N) int64.

    Codes are checked on the CPU only; on a GPU the loss itself fails for a code that is too large.
    """
    vectors = comparison.match.sum_of(comparison.key.vectors)
    if vectors.shape[-1] != 1:
        raise ValueError(
            f'CodeCrossEntropy: keys of {vectors.shape[-1]} values, not one code a unit; give the head '
            "target=dict(type='KMeansTokens', ...)"
        )
    codes = vectors[..., 0].long()
    here = codes.device.type == 'cpu' and type(codes) is Tensor  # fake tensors have no values
    if here and codes.numel() and int(codes.min()) < 0:
        raise ValueError(
            "CodeCrossEntropy: a view without an answer; let the head's pairs name views that have one"
        )
    if here and codes.numel() and int(codes.max()) >= logits:
        raise ValueError(
            f'CodeCrossEntropy: code {int(codes.max())} with {logits} logits; give the projector as many '
            "channels as the head's target has codes"
        )
    return codes


def _most_frequent(codes: Tensor, counted: Tensor, logits: Tensor) -> Tensor:
    counts = torch.zeros_like(logits[0, 0], requires_grad=False)
    counts = counts.index_add(0, codes.flatten(), counted.flatten().to(counts.dtype))
    return counts.max() / counts.sum().clamp(min=1)


@no_autocast
def soft_cross_entropy(logits: Tensor, answers: Tensor) -> Tensor:
    """Cross entropy with shares of the classes. The unit's weight changes the gradient, not the value.

    Args:
        logits: (..., K).
        answers: (..., K), 0 or more: the shares times the unit's weight. So their sum is the weight.

    Returns:
        (...): the value is without the weight, the gradient is with it. 0 if all shares are 0.
    """
    logits, answers = full_precision(logits), full_precision(answers)
    weights = answers.sum(-1)
    shares = answers / weights.clamp(min=torch.finfo(answers.dtype).tiny)[..., None]
    terms = torch.where(weights > 0, logits.logsumexp(-1), 0.0) - torch.einsum(
        '...k,...k->...', shares, logits
    )
    weighted = weights * terms
    return terms.detach() + (weighted - weighted.detach())


@MODELS.register_module()
class SoftCrossEntropy(Objective):
    """Cross entropy of each unit's K logits with the shares of K classes in its answer.

    The key's vectors are those of :class:`~densecl.models.targets.ColorBins`: shares times a weight. The
    weight multiplies the gradient, not the value (Zhang et al., ECCV 2016, and their code). Units whose
    answer has no shares do not count.

    Args:
        mean: see :class:`CodeCrossEntropy`.
    """

    needs = frozenset({'one answer'})

    def __init__(self, mean: str = 'counted') -> None:
        super().__init__()
        self.mean = check_choice('SoftCrossEntropy: mean', mean, ('counted', 'images'))

    def score(self, comparison: Comparison) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss; ``accuracy`` and ``frequent`` of the class with the largest share, see
        :class:`CodeCrossEntropy`; and ``entropy`` of the shares, the lower bound of the loss."""
        logits = full_precision(comparison.query.compared)
        answers = full_precision(comparison.match.sum_of(comparison.key.vectors).detach())
        if logits.shape != answers.shape:
            raise ValueError(
                f'SoftCrossEntropy: {logits.shape[-1]} logits of a unit, its answer has {answers.shape[-1]} '
                'shares; give the projector as many channels as the target has classes, 313 of ColorBins'
            )
        counted = comparison.match.found() & (answers.sum(-1) > 0)
        terms, classes = soft_cross_entropy(logits, answers), answers.argmax(-1)
        hits = (logits.detach().argmax(-1) == classes).to(terms.dtype)
        shares = answers / answers.sum(-1, keepdim=True)
        log = {
            'accuracy': own_mean(hits, counted),
            'frequent': _most_frequent(classes, counted, logits),
            'entropy': own_mean(torch.special.entr(shares).sum(-1), counted),
        }
        return mean_of(terms, counted, self.mean), log


@no_autocast
def commitment(embeddings: Tensor, codes: Tensor) -> Tensor:
    """Squared difference, mean over E: (..., E) and (..., E) -> (...); no gradient to the codes."""
    return (full_precision(embeddings) - full_precision(codes.detach())).square().mean(-1)


@MODELS.register_module()
class Commitment(Objective):
    """Squared distance of each unit's embedding from its code (VQ-VAE, van den Oord et al., 2017; VQ-KD).

    The mean is over channels and units. Only the embeddings get a gradient: codes are a moving average.
    """

    needs = frozenset({'codes', 'rows'})
    needs_keys = False

    def score(self, comparison: Comparison) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, in [0, 4 / E], and diagnostics of the quantiser's codes: ``used``, ``perplexity``."""
        query = comparison.query
        return commitment(query.embeddings, query.codes).mean(), dict(query.log)
