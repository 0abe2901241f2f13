"""The triplet loss with mining."""

import torch
from torch import Tensor, nn

from densecl.registry import MODELS

from .candidates import Candidates, Keep, batch_candidates
from .functional import unit
from .functional.metric import triplet_terms
from .samples import Samples
from .tiled import hardest_keys


@MODELS.register_module()
class Triplet(nn.Module):
    """``max(0, d(query, positive) - d(query, negative) + margin)`` with mined negatives, mean over queries.

    Vectors are unit vectors, so the nearest key is the one of the highest cosine. The negatives are mined
    from the batch of all processes; a query without any (by ``labels``, where all are of one class) adds 0.

    - ``'batch-hard'``: the nearest negative (Hermans et al., 2017, eq. 5).
    - ``'semi-hard'``: the nearest of those farther than the positive (FaceNet, Schroff et al., 2015,
      section 3.2, which also asks for a positive loss: here one farther than the margin adds 0). Where all
      negatives are nearer than the positive, the farthest of them, as in TensorFlow's addons.

    Args:
        margin: least difference wanted between the distances.
        mining: ``'batch-hard'`` or ``'semi-hard'``.
        squared: squared Euclidean distances, as in FaceNet, instead of Euclidean ones.
        batch: where to mine: ``'keys'``, the key view, or ``'views'``, both views.
        labels: negatives are of other classes, and the positive is the farthest key of the query's class (of
            the other view of its own image and all candidates of the class) rather than its own other
            view. A query or candidate without a label (-1) is of a class of its own.
    """

    #: Nothing is remembered of earlier batches.
    queue = None

    def __init__(
        self,
        margin: float = 0.2,
        mining: str = 'batch-hard',
        squared: bool = False,
        batch: str = 'keys',
        labels: bool = False,
    ) -> None:
        super().__init__()
        if margin <= 0:
            raise ValueError(f'Triplet: margin must be positive, got {margin}')
        if mining not in ('batch-hard', 'semi-hard'):
            raise ValueError(f"Triplet: mining must be 'batch-hard' or 'semi-hard', got {mining!r}")
        if batch not in ('keys', 'views'):
            raise ValueError(f"Triplet: batch must be 'keys' or 'views', got {batch!r}")
        self.margin, self.mining, self.squared = margin, mining, squared
        self.batch, self.labels = batch, labels

    def forward(
        self,
        query: Tensor,
        positive: Tensor,
        new_keys: Tensor | None = None,
        samples: Samples | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Mine and score.

        Args:
            query: (N, C).
            positive: (N, C), the key of each query.
            new_keys: (B, C), one an image of the key view, to mine from; ``positive`` by default.
            samples: the images behind the rows.

        Returns:
            The scalar loss, and diagnostics without gradient: ``pos_sim``, the mean cosine of the pairs of
            views; ``top1``, the share of positives nearer than their negative; ``active``, the share
            of triplets with a loss.
        """
        samples = Samples() if samples is None else samples
        with torch.autocast(query.device.type, enabled=False):
            query, positive = unit(query), unit(positive)
            keys = positive if new_keys is None else new_keys
            candidates = batch_candidates(query, keys, samples, self.batch == 'views', ring=False)
            pos_sim = (query * positive).detach().sum(1).mean()
            if self.labels:
                positive = self.farthest_mate(query, positive, candidates, samples)
            negative, found = self.mine(query, positive, candidates, samples)
            terms = triplet_terms(query, positive, negative, self.margin, self.squared)
            terms = torch.where(found, terms, 0.0)
        nearer = (query * positive).sum(1) > (query * negative).sum(1)
        diagnostics = {
            'pos_sim': pos_sim,
            'top1': (nearer | ~found).float().mean(),
            'active': (terms > 0).float().mean(),
        }
        return terms.mean(), diagnostics

    def mates(self, candidates: Candidates, samples: Samples) -> Keep:
        """``rule(columns, cosines) -> bool (N, k)``: which candidates are of the query's class."""
        if samples.labels is None:
            raise ValueError(
                'Triplet(labels=True) needs labels: take a source that has them, such as '
                "train_dataloader.dataset.source=dict(type='ImageNet')"
            )
        mine = samples.of_queries(samples.labels)[:, None]
        return lambda columns, _: (mine == candidates.labels[columns]) & (mine >= 0)

    def farthest_mate(
        self, query: Tensor, positive: Tensor, candidates: Candidates, samples: Samples
    ) -> Tensor:
        """(N, C): the farthest of the query's class."""
        others = candidates.without(self.mates(candidates, samples))
        # The nearest to the opposite vector is the farthest.
        value, column = hardest_keys(
            -query, candidates.keys, 1, lambda columns, logits: others.keep(columns, -logits)
        )
        farther = -value[:, 0] < (query * positive).sum(1)
        farther &= value[:, 0] > -torch.inf
        return torch.where(farther[:, None], candidates.keys[column[:, 0]], positive)

    @torch.no_grad()
    def _columns(self, query: Tensor, positive: Tensor, negatives: Candidates):
        """(N,) column of each query's negative, and whether it has one."""
        value, column = hardest_keys(query, negatives.keys, 1, negatives.keep)
        found = value[:, 0] > -torch.inf
        if self.mining == 'batch-hard':
            return column[:, 0], found
        limit = (query * positive).sum(1, keepdim=True)
        farther = negatives.without(lambda _, cosines: cosines < limit)
        value, semi_hard = hardest_keys(query, negatives.keys, 1, farther.keep)
        _, farthest = hardest_keys(
            -query, negatives.keys, 1, lambda columns, logits: negatives.keep(columns, -logits)
        )
        return torch.where(value > -torch.inf, semi_hard, farthest)[:, 0], found

    def mine(
        self, query: Tensor, positive: Tensor, candidates: Candidates, samples: Samples
    ) -> tuple[Tensor, Tensor]:
        """(N, C) negatives, and (N,) bool whether there are any."""
        if self.labels:
            same = self.mates(candidates, samples)
            candidates = candidates.without(lambda columns, cosines: ~same(columns, cosines))
        column, found = self._columns(query, positive, candidates)
        return candidates.keys[column], found
