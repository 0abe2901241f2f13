"""What queries are contrasted with: keys of other images, of their own image, and the logits of both."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from densecl.distributed import gather, world_size
from densecl.structures import Comparison

from .kernel import Keep, key_blocks, similarity_logsumexp, tiled_logsumexp, tiled_row_sum


@dataclass
class Pairs:
    """(R, M) cosines of queries with units of their own image, and bool (R, M), which of them count.

    ``bonus`` is added to their logits as candidates.
    """

    cosines: Tensor
    mask: Tensor
    bonus: float = 0.0

    @classmethod
    def between(cls, query: Tensor, keys: Tensor, mask: Tensor) -> 'Pairs':
        """Of (B * N, D) and (B, M, D) unit vectors; ``mask`` is (B, N, M)."""
        cosines = query.view(*mask.shape[:2], -1) @ keys.transpose(1, 2)
        return cls(cosines.flatten(0, 1), mask.flatten(0, 1))

    def count(self) -> Tensor:
        """(R,), how many count, in the dtype of the cosines."""
        return self.mask.sum(1).to(self.cosines.dtype)

    def sum(self, values: Tensor) -> Tensor:
        """(R,) of (R, M) values."""
        return torch.where(self.mask, values, 0.0).sum(1)

    def mean(self, values: Tensor) -> Tensor:
        """(R,) of (R, M) values; 0 where none counts."""
        return self.sum(values) / self.count().clamp(min=1)

    def logsumexp(self, logits: Tensor) -> Tensor:
        """(R,) of (R, M) logits; a very low number where none counts."""
        # Not -inf: the gradient would be NaN, and 0 times NaN stays NaN.
        return logits.masked_fill(~self.mask, torch.finfo(logits.dtype).min / 4).logsumexp(1)


@dataclass
class Candidates:
    """K keys that R queries are contrasted with; answers of a query's own image are none of them.

    Attributes:
        keys: (K, C) unit vectors; under ``ring`` those of this process only.
        images: (K,) int64, the number of each key's image in the batch of all processes (-1: not of this
            batch); None where all are candidates of all queries.
        own: (R,) int64, the same number for the queries.
        place: (K,) int64, which unit of its image a key is (-1: none). None: no query meets its own image.
        there: (K,) uint8 or int64, 0 where a key is no candidate, such as a unit that no view shows; or None.
        left_out: with ``place``, what a query does not meet of its own image: bool (R, P), or int64 (R,).
        indices: (K,) int64, position of each key's image in the data set, -1: not known; or None.
        labels: (K,) int64, class ids, -1: not known; or None.
        pairs: further candidates, of the query's own image.
        ring: the keys of other processes are sent around rather than gathered.
        filters: rules ``rule(columns, cosines (R, k)) -> bool (R, k)``; what one does not keep is left out.
        volatile: ``keys`` are the memory of a queue, overwritten before the backward pass. What reads them
            again there, unlike a log-sum-exp, takes them from :meth:`gathered`.
        tile: keys in a tile; by default what is fast on the device.
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
        """Which pairs of a tile are candidates, bool (R, k)."""
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
        """Whether any key may be left out."""
        return self.images is not None or bool(self.filters)

    def logsumexp(self, query: Tensor, scale: Tensor | float) -> tuple[Tensor, Tensor]:
        """(R,) log-sum-exp and (R,) maximum of ``scale * cosine`` over the candidates of each unit query.

        ``scale`` is one over the temperature, a number or (R,). Both are -inf for a query without candidates.
        """
        column = scale[:, None] if isinstance(scale, Tensor) and scale.ndim else scale
        keep = self.keep if self.masked else None
        if self.filters:  # they look at the cosines
            fixed = column.detach() if isinstance(column, Tensor) else column
            keep = lambda columns, logits: self.keep(columns, logits / fixed)  # noqa: E731
        lse, top = similarity_logsumexp(query * column, self.keys, keep, self.tile, self.ring)
        if self.pairs is None:
            return lse, top
        logits = self.pairs.cosines * column + self.pairs.bonus
        own_top = logits.detach().masked_fill(~self.pairs.mask, -torch.inf).amax(1)
        return self._with_pairs(lse, logits), top.maximum(own_top)

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
        """The same candidates with all keys at hand, also in the backward pass."""
        if self.volatile:
            return replace(self, keys=self.keys.clone(), volatile=False)
        return replace(self, keys=gather(self.keys), ring=False) if self.ring else self

    def without(self, rule: Keep) -> 'Candidates':
        """The candidates that ``rule`` keeps, too; those of the query's own image are not asked for."""
        return replace(self, filters=[*self.filters, rule])

    def joined(self, batch: 'Candidates') -> 'Candidates':
        """These, of earlier batches, and those of the present one."""

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
            order = self.images.sort().values
            same = torch.searchsorted(order, self.own, right=True) - torch.searchsorted(order, self.own)
            count += len(self) - same
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
        candidates: what they are contrasted with.
        temperature: t, a number, a scalar or (R,); None: a cosine s has the logit ``2 artanh(s)``.
        comparison: what is compared.
        hardest: (R,) largest cosine with a candidate, -inf without any; known after :meth:`logsumexp`.
    """

    query: Tensor
    positive: Tensor
    candidates: Candidates
    temperature: Tensor | float | None
    comparison: Comparison
    hardest: Tensor | None = None

    def logits(self, cosine: Tensor) -> Tensor:
        """Logits of (R,) or (R, k) cosines."""
        return logits_of(cosine, self.temperature)

    def logsumexp(self, power: float = 1.0) -> Tensor:
        """(R,) log-sum-exp of ``power`` times the candidates' logits, -inf without any."""
        if self.temperature is None:
            return self.candidates.transformed_logsumexp(self.query, lambda s: power * two_artanh(s))
        scale = power / self.temperature
        lse, top = self.candidates.logsumexp(self.query, scale)
        self.hardest = top / (scale.detach() if isinstance(scale, Tensor) else scale)
        return lse

    def sum_of(self, function: Callable[..., Tensor], *row_tensors: Tensor) -> Tensor:
        """(R,) sum of ``function(cosines (R, k), *row_tensors)`` over the candidates, with gradient."""
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
        """(B, ...) values of images -> (R, ...) of their queries."""
        return values.repeat_interleave(len(self.query) // len(values), 0)


def logits_of(cosine: Tensor, temperature: Tensor | float | None) -> Tensor:
    """Logits of (R,) or (R, k) cosines at a temperature of :class:`Scores`."""
    if temperature is None:
        return two_artanh(cosine)
    per_row = isinstance(temperature, Tensor) and temperature.ndim == 1 and cosine.ndim == 2
    return cosine / (temperature[:, None] if per_row else temperature)


def two_artanh(cosine: Tensor, margin: float = 1e-6) -> Tensor:
    """``log((1 + s) / (1 - s))``, finite because s is first kept ``margin`` away from -1 and 1."""
    cosine = cosine.clamp(-1 + margin, 1 - margin)
    return torch.log1p(cosine) - torch.log1p(-cosine)
