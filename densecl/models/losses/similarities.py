"""What an InfoNCE loss is made of: positive logits, negatives, and the temperature between them."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .candidates import Candidates
from .tiled_functions import tiled_row_sum


@dataclass
class Similarities:
    """N queries, each with its positive and its negatives.

    Attributes:
        query: (N, C) unit vectors.
        cosine: (N,), with the positive.
        candidates: the negatives.
        temperature: t, a number, a scalar or (N,); None is the temperature-free form, where a cosine s has
            the logit ``2 artanh(s)`` in place of ``s / t``.
        hardest: (N,) largest cosine with a negative, -inf without negatives; known once
            :meth:`logsumexp` was called with a temperature.
        keys: (B, C) unit vectors without gradient, one an image of the key view.
    """

    query: Tensor
    cosine: Tensor
    candidates: Candidates
    temperature: Tensor | float | None
    hardest: Tensor | None = None
    keys: Tensor | None = None

    @property
    def positive(self) -> Tensor:
        """(N,) logits of the positives."""
        return self.logits(self.cosine)

    def logits(self, cosine: Tensor) -> Tensor:
        """Logits of (N,) or (N, k) cosines."""
        if self.temperature is None:
            return two_artanh(cosine)
        t = self.temperature
        per_row = isinstance(t, Tensor) and t.ndim == 1 and cosine.ndim == 2
        return cosine / (t[:, None] if per_row else t)

    def logsumexp(self, power: float = 1.0) -> Tensor:
        """(N,) log-sum-exp of ``power`` times the negatives' logits, -inf without negatives."""
        if self.temperature is None:
            return self.candidates.transformed_logsumexp(
                self.query, lambda cosine: power * two_artanh(cosine)
            )
        scale = power / self.temperature
        lse, top = self.candidates.logsumexp(self.query, scale)
        self.hardest = top / (scale.detach() if isinstance(scale, Tensor) else scale)
        return lse

    def logit_sum(self) -> Tensor:
        """(N,) sum of the negatives' logits."""
        candidates = self.candidates.gathered()

        def of_block(query: Tensor, keys: Tensor, columns: slice) -> Tensor:
            cosine = query @ keys.T
            kept = candidates.keep(columns, cosine.detach())
            return self.logits(cosine).masked_fill(~kept, 0).sum(1)

        return tiled_row_sum(of_block, self.query, candidates.keys)

    def with_candidates(self, candidates: Candidates) -> 'Similarities':
        """The same queries with other negatives."""
        return replace(self, candidates=candidates, hardest=None)


def two_artanh(cosine: Tensor, margin: float = 1e-6) -> Tensor:
    """``log((1 + s) / (1 - s))``, finite because s is first kept ``margin`` away from -1 and 1."""
    cosine = cosine.clamp(-1 + margin, 1 - margin)
    return torch.log1p(cosine) - torch.log1p(-cosine)
