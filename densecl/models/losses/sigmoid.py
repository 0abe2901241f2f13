"""The sigmoid loss: each pair of an image and a text is classified by itself as matched or not."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from densecl.numerics import unit
from densecl.registry import MODELS

from .candidates import Candidates, Scores
from .contrast import watched
from .objective import Objective, mean_of
from .sources import batch_candidates


@MODELS.register_module()
class SigmoidContrast(Objective):
    """SigLIP (Zhai et al., 2023, eq. 1): ``-1 / B sum_ij log sigmoid(z_ij (t x_i . y_j + b))``.

    x and y are unit vectors. z is 1 if j answers i, else -1. t = exp(t') and b are learned. The sum contains
    both directions, so a head needs no ``both_ways``. Candidates are the pooled keys of all processes.

    Args:
        scale: t at the start.
        bias: b at the start. It is negative as most pairs do not match: the loss then starts with most pairs
            classified correctly.
    """

    needs = frozenset({'pooled', 'one answer'})

    def __init__(self, scale: float = 10.0, bias: float = -10.0) -> None:
        super().__init__()
        if scale <= 0:
            raise ValueError(f'SigmoidContrast: scale must be positive, got {scale}')
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.bias = nn.Parameter(torch.tensor(float(bias)))

    def score(self, comparison):
        """The loss, and ``pos_sim``, the mean cosine of this process's queries with their answers."""
        c = comparison
        with torch.autocast(c.query.vectors.device.type, enabled=False):
            query, keys = unit(c.query.compared).flatten(0, 1), unit(c.key.vectors)
            cosine = (query * c.match.sum_of(keys).flatten(0, 1)).sum(-1)
            scores = Scores(query, cosine, batch_candidates(c, query, keys, 'keys'), None, c)
            terms = sigmoid_terms(scores, self.log_scale.to(query.dtype).exp(), self.bias.to(query.dtype))
            terms, counted = terms.view(c.query.vectors.shape[:2]), c.match.found()
            return mean_of(terms, counted, 'rows'), watched(cosine.view_as(terms), None, counted)


def sigmoid_terms(scores: Scores, scale: Tensor | float, bias: Tensor | float) -> Tensor:
    """The loss of each query with its answer and with all candidates, (R,); ``scores.positive`` is the cosine
    with the answer."""
    return F.softplus(-(scale * scores.positive + bias)) + scores.sum_of(
        lambda cosine: F.softplus(scale * cosine + bias)
    )


def others_of(query: Tensor, keys: Tensor) -> Candidates:
    """``keys`` (R, C) as candidates; key i is no candidate of query i."""
    rows = torch.arange(len(query), device=query.device)
    return Candidates(keys, rows, rows)
