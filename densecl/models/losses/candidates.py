"""Who the negatives of a batch of queries are, in this process and in all others."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from densecl.distributed import all_gather, gather, rank, world_size

from .functional import unit
from .ring import ring_logsumexp, worth_a_ring
from .samples import Samples
from .tiled import similarity_logsumexp, tiled_logsumexp

Keep = Callable[[slice, Tensor], Tensor]


@dataclass
class Candidates:
    """K keys that N queries are contrasted with; a query never meets its own image.

    Attributes:
        keys: (K, C) unit vectors; under ``ring`` those of this process only.
        images: (K,) int64, the number of each key's image within the batch of all processes (-1: not of this
            batch); None where no key is of this batch.
        own: (N,) int64, the same number for the queries.
        indices: (K,) int64, position of each key's image in the data set, -1 where not known; or None.
        labels: (K,) int64, class ids, -1 where not known; or None.
        ring: the keys of other processes are sent around rather than gathered.
        filters: further rules ``rule(columns, cosines (N, k)) -> bool (N, k)`` that say which of a slice of
            the keys to keep; all must agree.
        passing: ``keys`` are the memory of a queue, overwritten before the backward pass. A log-sum-exp does
            not visit them again; what does takes them from :meth:`gathered`.
    """

    keys: Tensor
    images: Tensor | None = None
    own: Tensor | None = None
    indices: Tensor | None = None
    labels: Tensor | None = None
    ring: bool = False
    filters: list[Keep] = field(default_factory=list)
    passing: bool = False

    def __len__(self) -> int:
        return len(self.keys) * (world_size() if self.ring else 1)

    def keep(self, columns: slice, cosines: Tensor) -> Tensor:
        """Which pairs of a tile are negatives, bool (N, k)."""
        kept = torch.ones_like(cosines, dtype=torch.bool)
        if self.images is not None:
            kept &= self.own[:, None] != self.images[columns]
        for rule in self.filters:
            kept &= rule(columns, cosines)
        return kept

    @property
    def masked(self) -> bool:
        """Whether any pair may be left out."""
        return self.images is not None or bool(self.filters)

    def logsumexp(self, query: Tensor, scale: Tensor | float) -> tuple[Tensor, Tensor]:
        """Of ``scale * cosine`` over the negatives of each query: log-sum-exp and maximum.

        Args:
            query: (N, C) unit vectors.
            scale: one over the temperature, a number or (N,).

        Returns:
            Two (N,) tensors; -inf for a query without negatives.
        """
        column = scale[:, None] if isinstance(scale, Tensor) and scale.ndim else scale
        reduce = ring_logsumexp if self.ring else similarity_logsumexp
        if not self.masked:
            return reduce(query * column, self.keys)
        if not self.filters:  # nobody looks at the cosines
            return reduce(query * column, self.keys, self.keep)
        fixed = column.detach() if isinstance(column, Tensor) else column
        return reduce(query * column, self.keys, lambda c, logits: self.keep(c, logits / fixed))

    def transformed_logsumexp(self, query: Tensor, transform: Callable[[Tensor], Tensor]) -> Tensor:
        """Log-sum-exp of ``transform(cosine)`` over the negatives of each unit query, (N,)."""

        def logits(query: Tensor, keys: Tensor, columns: slice) -> Tensor:
            cosine = query @ keys.T
            return transform(cosine).masked_fill(~self.keep(columns, cosine.detach()), -torch.inf)

        return tiled_logsumexp(logits, query, self.gathered().keys)

    def gathered(self) -> 'Candidates':
        """The same candidates with all keys at hand, also in the backward pass."""
        if self.passing:
            return replace(self, keys=self.keys.clone(), passing=False)
        if not self.ring:
            return self
        return replace(self, keys=gather(self.keys), ring=False)

    def without(self, rule: Keep) -> 'Candidates':
        """The candidates that ``rule`` keeps, too."""
        return replace(self, filters=[*self.filters, rule])

    def joined(self, batch: 'Candidates') -> 'Candidates':
        """These, of earlier batches, and those of the present one."""
        before = self.keys.new_full((len(self.keys),), -1, dtype=torch.int64)

        def both(mine: Tensor | None, theirs: Tensor | None) -> Tensor | None:
            return None if theirs is None else torch.cat([before if mine is None else mine, theirs])

        return Candidates(
            torch.cat([self.keys, batch.keys]),
            both(self.images, batch.images),
            batch.own,
            both(self.indices, batch.indices),
            both(self.labels, batch.labels),
        )

    @torch.no_grad()
    def count(self, query: Tensor) -> Tensor:
        """Number of negatives of each unit query, (N,)."""
        if not self.masked:
            return query.new_full((len(query),), len(self))
        if not self.filters:
            order = self.images.sort().values
            same = torch.searchsorted(order, self.own, right=True) - torch.searchsorted(
                order, self.own
            )
            return (len(self) - same).to(query.dtype)
        keys = self.gathered().keys
        count = query.new_zeros(len(query))
        for start in range(0, len(keys), 4096):
            columns = slice(start, min(start + 4096, len(keys)))
            count += self.keep(columns, query @ keys[columns].T).sum(1)
        return count


def batch_candidates(
    query: Tensor, keys: Tensor, samples: Samples, both_views: bool, ring: bool | None = None
) -> Candidates:
    """The keys of the batch of all processes, and the queries too where ``both_views``.

    Numbers of images run over the processes here and nowhere else, so no objective can get them wrong;
    gathered keys carry their gradient back to the process they came from.

    Args:
        query: (N, C) unit vectors.
        keys: (B, C), one key an image.
        samples: of this process.
        both_views: NT-Xent's candidates, 2B an process, rather than the B keys.
        ring: send keys around instead of gathering them; by default where they would be large.
    """
    count = len(keys)
    first = rank() * count
    images = first + torch.arange(count, device=keys.device)
    pools = [unit(keys)]
    if both_views:
        pools.append(query if samples.queries is None else unit(samples.queries))
        if len(pools[1]) != count:
            raise ValueError(
                f'{len(pools[1])} query vectors stand for {count} images: samples.queries needs one '
                'row an image'
            )
    local = torch.cat(pools) if both_views else pools[0]
    ring = worth_a_ring(local) if ring is None else ring

    def of_all(values: Tensor | None) -> Tensor | None:
        return None if values is None else all_gather(values.repeat(len(pools)))

    own = images if samples.rows is None else first + samples.rows
    return Candidates(
        local if ring else gather(local),
        of_all(images),
        own,
        of_all(samples.indices),
        of_all(samples.labels),
        ring,
    )
