"""The triplet loss with mined negatives."""

import torch
from torch import Tensor

from densecl.messages import check_choice
from densecl.numerics import unit
from densecl.registry import MODELS

from .candidates import Candidates
from .kernel import hardest_keys
from .objective import Objective, mean_of, own_mean
from .sources import batch_candidates


@MODELS.register_module()
class Triplet(Objective):
    """``max(0, d(query, positive) - d(query, negative) + margin)`` with mined negatives, mean over queries.

    Negatives are mined from the pooled vectors of other images of all processes. A query without negatives
    adds 0. If the matching rule finds answers in other images (``SameLabel``), they are no negatives, and the
    positive is the farthest of all answers (Hermans et al., 2017, eq. 5).

    - ``'batch-hard'``: the nearest negative (Hermans et al., 2017, eq. 5).
    - ``'semi-hard'``: the nearest negative that is farther than the positive (FaceNet, Schroff et al., 2015,
      section 3.2). FaceNet also requires a loss above 0; here a negative beyond the margin may be chosen, and
      adds 0. If all negatives are nearer than the positive, the farthest of them, as in TensorFlow's addons.

    Args:
        margin: smallest wanted difference between the two distances.
        mining: ``'batch-hard'`` or ``'semi-hard'``.
        squared: squared Euclidean distances, as in FaceNet, instead of Euclidean ones.
        batch: where to mine: ``'keys'``, the key view, or ``'views'``, both views.
    """

    needs = frozenset({'one answer', 'pooled'})
    across = True
    weighs = True

    def __init__(
        self, margin: float = 0.2, mining: str = 'batch-hard', squared: bool = False, batch: str = 'keys'
    ) -> None:
        super().__init__()
        if margin <= 0:
            raise ValueError(f'Triplet: margin must be positive, got {margin}')
        check_choice('Triplet: mining', mining, ('batch-hard', 'semi-hard'))
        check_choice('Triplet: batch', batch, ('keys', 'views'))
        self.margin, self.mining, self.squared, self.batch = margin, mining, squared, batch

    def score(self, comparison):
        """The loss, and diagnostics over the queries that count.

        ``pos_sim`` is the mean cosine with the answer in the own image. ``top1`` is the share of positives
        nearer than their negative. ``active`` is the share of triplets with a loss above 0.
        """
        c, match = comparison, comparison.match
        with torch.autocast(c.query.vectors.device.type, enabled=False):
            query, keys = unit(c.query.compared).flatten(0, 1), unit(c.key.vectors)
            own = positive = match.sum_of(keys).flatten(0, 1)
            negatives = batch_candidates(c, query, keys, self.batch, ring=False)
            if match.across is not None:
                same = match.across(negatives)
                positive = farthest(query, own, negatives.where(lambda columns, _: same(columns)))
                negatives = negatives.where(lambda columns, _: ~same(columns))
            column, found = self.mine(query, positive, negatives)
            negative = negatives.keys[column]
            terms = triplet_terms(query, positive, negative, self.margin, self.squared).where(found, 0.0)
            weighted = terms if match.weight is None else terms * match.weight.flatten().to(terms.dtype)
            loss = mean_of(weighted.view(c.query.vectors.shape[:2]), match.valid, 'rows')
        counted = None if match.valid is None else match.valid.flatten()
        nearer = (query * positive).sum(1) > (query * negative).sum(1)
        logged = {'pos_sim': (query * own).sum(1).detach(), 'top1': nearer | ~found, 'active': terms > 0}
        return loss, {name: own_mean(values.to(terms.dtype), counted) for name, values in logged.items()}

    @torch.no_grad()
    def mine(self, query: Tensor, positive: Tensor, negatives: Candidates) -> tuple[Tensor, Tensor]:
        """The column of each query's negative (R,), and whether it has one, (R,) bool."""
        value, column = hardest_keys(query, negatives.keys, 1, negatives.keep)
        found = value[:, 0] > -torch.inf
        if self.mining == 'batch-hard':
            return column[:, 0], found
        limit = (query * positive).sum(1, keepdim=True)
        beyond = negatives.where(lambda _, cosines: cosines < limit)
        value, semi_hard = hardest_keys(query, negatives.keys, 1, beyond.keep)
        # The farthest negative is the one nearest to the opposite of the query.
        _, last = hardest_keys(-query, negatives.keys, 1, lambda columns, s: negatives.keep(columns, -s))
        return torch.where(value > -torch.inf, semi_hard, last)[:, 0], found


def farthest(query: Tensor, own: Tensor, mates: Candidates) -> Tensor:
    """For each query, the farthest of its own answer and all ``mates``, (R, C)."""
    value, column = hardest_keys(-query, mates.keys, 1, lambda columns, s: mates.keep(columns, -s))
    farther = (-value[:, 0] < (query * own).sum(1)) & (value[:, 0] > -torch.inf)
    return torch.where(farther[:, None], mates.keys[column[:, 0]], own)


def triplet_terms(
    anchor: Tensor, positive: Tensor, negative: Tensor, margin: float, squared: bool = False
) -> Tensor:
    """The terms (R,) of unit vectors (R, C) each; a distance of 0 has the gradient 0."""
    sides = (anchor - positive, anchor - negative)
    near, far = (x.square().sum(-1) if squared else torch.linalg.vector_norm(x, dim=-1) for x in sides)
    return (near - far + margin).relu()
