"""The candidates of a contrastive loss, keys of other images or of the query's own; and their logits."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from densecl.distributed import gather, world_size
from densecl.structures import Comparison

from .kernel import Keep, key_blocks, similarity_logsumexp, tiled_logsumexp, tiled_row_sum


@dataclass
class Pairs:
    """Pairs of R queries with the M units of their own image.

    Attributes:
        cosines: (R, M).
        mask: (R, M) bool, the pairs that count.
        bonus: added to the logits of the pairs, if they are candidates.
    """

    cosines: Tensor
    mask: Tensor
    bonus: float = 0.0

    @classmethod
    def between(cls, query: Tensor, keys: Tensor, mask: Tensor) -> 'Pairs':
        """The pairs of ``query`` (B * N, D) and ``keys`` (B, M, D), unit vectors; ``mask`` is (B, N, M)."""
        cosines = query.view(*mask.shape[:2], -1) @ keys.transpose(1, 2)
        return cls(cosines.flatten(0, 1), mask.flatten(0, 1))

    def count(self) -> Tensor:
        """Number of pairs that count, (R,), with the dtype of the cosines."""
        return self.mask.sum(1).to(self.cosines.dtype)

    def sum(self, values: Tensor) -> Tensor:
        """Sum over the pairs that count, (R, M) -> (R,)."""
        return torch.where(self.mask, values, 0.0).sum(1)

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the pairs that count, (R, M) -> (R,); 0 if there are none."""
        return self.sum(values) / self.count().clamp(min=1)

    def logsumexp(self, logits: Tensor) -> Tensor:
        """Log-sum-exp over the pairs that count, (R, M) -> (R,); a very low number if there are none."""
        # Not -inf: its gradient would be NaN, and 0 times NaN is NaN.
        return logits.masked_fill(~self.mask, torch.finfo(logits.dtype).min / 4).logsumexp(1)


@dataclass
class Candidates:
    """K keys that are the candidates of R queries. Answers in a query's own image are not among them.

    Attributes:
        keys: (K, C) unit vectors; with ``ring`` only those of this process.
        images: (K,) int64, the number of each key's image in the batch of all processes; -1: not in this
            batch. None: every key is a candidate of every query.
        own: (R,) int64, the number of each query's image.
        place: (K,) int64, which unit of its image a key is; -1: none. None: no key of a query's own image is
            its candidate.
        there: (K,) uint8 or int64, 0 for a key that is no candidate, such as a unit that no view shows; or
            None.
        left_out: with ``place``: the units of its own image that are not a query's candidates, as bool
            (R, P), or int64 (R,).
        indices: (K,) int64, position of each key's image in the data set, -1 where unknown; or None.
        labels: (K,) int64, class ids, -1 where unknown; or None.
        pairs: further candidates in the query's own image.
        ring: keys of other processes are sent around a ring, not gathered.
        filters: rules ``rule(columns, cosines (R, k)) -> bool (R, k)``, true for candidates that are kept.
        volatile: ``keys`` is the memory of a queue, which is overwritten before the backward pass. A
            log-sum-exp does not read it there. Code that does must take the keys from :meth:`gathered`.
        tile: number of keys in a tile; by default chosen for speed on the device.
    """

    keys: Tensor
    images: Tensor | None = None
    own: Tensor | None = None
    place: Tensor | None = None
    there: Tensor | None = None
    left_out: Tensor | None = None
    indices: Tensor | None = None
    labels: Tensor | None = None
    pairs: Pairs | None = None
    ring: bool = False
    filters: list[Keep] = field(default_factory=list)
    volatile: bool = False
    tile: int | None = None

    def __len__(self) -> int:
        return len(self.keys) * (world_size() if self.ring else 1)

    def keep(self, columns: slice, cosines: Tensor) -> Tensor:
        """Which pairs of a tile are candidates, (R, k) bool."""
        kept = torch.ones_like(cosines, dtype=torch.bool)
        if self.images is not None:
            same = self.own[:, None] == self.images[columns]
            if self.place is not None:
                place, out = self.place[columns], self.left_out
                same &= out[:, place] if out.dtype == torch.bool else out[:, None] == place
            kept &= ~same
        if self.there is not None:
            kept &= self.there[columns] != 0
        for rule in self.filters:
            kept &= rule(columns, cosines)
        return kept

    @property
    def masked(self) -> bool:
        """Whether some keys may not be candidates of some queries."""
        return self.images is not None or bool(self.filters)

    def logsumexp(self, query: Tensor, scale: Tensor | float) -> tuple[Tensor, Tensor]:
        """Log-sum-exp (R,) and maximum (R,) of ``scale * cosine`` over the candidates of each unit query.

        ``scale`` is 1 / temperature, a number or (R,). Both results are -inf for a query without candidates.
        """
        column = scale[:, None] if isinstance(scale, Tensor) and scale.ndim else scale
        keep = self.keep if self.masked else None
        if self.filters:  # filters need cosines, not logits
            fixed = column.detach() if isinstance(column, Tensor) else column
            keep = lambda columns, logits: self.keep(columns, logits / fixed)  # noqa: E731
        lse, top = similarity_logsumexp(query * column, self.keys, keep, self.tile, self.ring)
        if self.pairs is None:
            return lse, top
        logits = self.pairs.cosines * column
        own_top = logits.detach().masked_fill(~self.pairs.mask, -torch.inf).amax(1)
        return self._with_pairs(lse, logits + self.pairs.bonus), top.maximum(own_top)

    def transformed_logsumexp(self, query: Tensor, transform: Callable[[Tensor], Tensor]) -> Tensor:
        """Log-sum-exp of ``transform(cosine)`` over the candidates of each unit query, (R,)."""

        def logits(query: Tensor, keys: Tensor, columns: slice) -> Tensor:
            cosine = query @ keys.T
            return transform(cosine).masked_fill(~self.keep(columns, cosine.detach()), -torch.inf)

        lse = tiled_logsumexp(logits, query, self.gathered().keys, tile=self.tile)
        return lse if self.pairs is None else self._with_pairs(lse, transform(self.pairs.cosines))

    def _with_pairs(self, lse: Tensor, logits: Tensor) -> Tensor:
        both = torch.logaddexp(lse, self.pairs.logsumexp(logits))
        return both.masked_fill((lse == -torch.inf) & ~self.pairs.mask.any(1), -torch.inf)

    def gathered(self) -> 'Candidates':
        """The same candidates with the keys of all processes, which stay valid in the backward pass."""
        if self.volatile:
            return replace(self, keys=self.keys.clone(), volatile=False)
        return replace(self, keys=gather(self.keys), ring=False) if self.ring else self

    def where(self, rule: Keep) -> 'Candidates':
        """Only the candidates for which ``rule`` is true. The rule does not apply to ``pairs``."""
        return replace(self, filters=[*self.filters, rule])

    def joined(self, batch: 'Candidates') -> 'Candidates':
        """These candidates, of earlier batches, together with those of the present batch."""

        columns = {}
        for name in ('images', 'place', 'there', 'indices', 'labels'):
            sides = [(getattr(x, name), len(x.keys)) for x in (self, batch)]
            if any(column is not None for column, _ in sides):
                unknown = self.keys.new_full((max(count for _, count in sides),), -1, dtype=torch.int64)
                columns[name] = torch.cat([unknown[:count] if x is None else x for x, count in sides])
        return replace(batch, keys=torch.cat([self.keys, batch.keys]), **columns)

    @torch.no_grad()
    def count(self, query: Tensor) -> Tensor:
        """Number of candidates of each unit query, (R,)."""
        count = query.new_zeros(len(query))
        if not self.masked:
            count += len(self)
        elif not self.filters and self.place is None:
            images, total = self.images, len(self)
            if self.there is not None:
                there = self.there != 0
                images, total = images.masked_fill(~there, -1), there.sum()
            order = images.sort().values
            same = torch.searchsorted(order, self.own, right=True) - torch.searchsorted(order, self.own)
            count += total - same
        else:
            keys = self.gathered().keys
            for columns in key_blocks(len(query), keys):
                count += self.keep(columns, query @ keys[columns].T).sum(1)
        return count if self.pairs is None else count + self.pairs.count()


@dataclass
class Scores:
    """R = B * N queries with their answers and their candidates.

    Attributes:
        query: (R, C) unit vectors; row r belongs to image r // N.
        positive: (R,), the mean logit of the answers in the query's own image.
        candidates: the candidates of the queries.
        temperature: t, a number, a scalar or (R,); None: a cosine s has the logit ``2 artanh(s)``.
        comparison: the comparison that is scored.
        hardest: (R,), largest cosine with a candidate, -inf without candidates; set by :meth:`logsumexp`.
    """

    query: Tensor
    positive: Tensor
    candidates: Candidates
    temperature: Tensor | float | None
    comparison: Comparison
    hardest: Tensor | None = None

    def logits(self, cosine: Tensor) -> Tensor:
        """Logits of cosines (R,) or (R, k)."""
        return logits_of(cosine, self.temperature)

    def logsumexp(self, power: float = 1.0) -> Tensor:
        """Log-sum-exp of ``power`` times the candidates' logits, (R,); -inf without candidates."""
        if self.temperature is None:
            return self.candidates.transformed_logsumexp(self.query, lambda s: power * two_artanh(s))
        scale = power / self.temperature
        lse, top = self.candidates.logsumexp(self.query, scale)
        self.hardest = top / (scale.detach() if isinstance(scale, Tensor) else scale)
        return lse

    def sum_of(self, function: Callable[..., Tensor], *row_tensors: Tensor) -> Tensor:
        """Sum of ``function(cosines (R, k), *row_tensors)`` over the candidates, (R,), with gradient."""
        candidates = self.candidates.gathered()

        def of_block(query: Tensor, keys: Tensor, columns: slice, *row_tensors: Tensor) -> Tensor:
            cosine = query @ keys.T
            kept = candidates.keep(columns, cosine.detach())
            return function(cosine, *row_tensors).masked_fill(~kept, 0).sum(1)

        total = tiled_row_sum(of_block, self.query, candidates.keys, *row_tensors, tile=candidates.tile)
        own = candidates.pairs
        return total if own is None else total + own.sum(function(own.cosines, *row_tensors))

    def with_candidates(self, candidates: Candidates) -> 'Scores':
        """The same queries with other candidates."""
        return replace(self, candidates=candidates, hardest=None)

    def of_rows(self, values: Tensor) -> Tensor:
        """Repeat values of images for their queries, (B, ...) -> (R, ...)."""
        return values.repeat_interleave(len(self.query) // len(values), 0)


def logits_of(cosine: Tensor, temperature: Tensor | float | None) -> Tensor:
    """Logits of cosines (R,) or (R, k); for ``temperature`` see :class:`Scores`."""
    if temperature is None:
        return two_artanh(cosine)
    per_row = isinstance(temperature, Tensor) and temperature.ndim == 1 and cosine.ndim == 2
    return cosine / (temperature[:, None] if per_row else temperature)


def two_artanh(cosine: Tensor, margin: float = 1e-6) -> Tensor:
    """``log((1 + s) / (1 - s))``; s is clamped to a distance of ``margin`` from -1 and 1, so it is finite."""
    cosine = cosine.clamp(-1 + margin, 1 - margin)
    return torch.log1p(cosine) - torch.log1p(-cosine)
