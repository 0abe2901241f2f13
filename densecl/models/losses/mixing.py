"""Synthetic hard negatives."""

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from densecl.registry import MODELS
from densecl.schedule import Clock

from .functional import unit
from .negatives import Negatives
from .similarities import Similarities
from .tiled import hardest_keys

# Numbers in the mixed vectors that are in memory at once.
CHUNK = 2**22


@MODELS.register_module()
class Mixing(Negatives):
    """Mixtures of each query's hardest negatives are negatives too (MoCHi, Kalantidis et al., 2020).

    Beside all candidates the denominator has ``pairs`` points ``unit(a n_i + (1 - a) n_j)``, a uniform on
    [0, 1), and ``with_query`` points ``unit(b q + (1 - b) n_j)``, b uniform on [0, 0.5), where i and j are
    drawn from the query's ``hardest`` negatives (sections 4.1 and 4.2; i = j may happen). No gradient goes
    through the points. The draws are torch's own, on the query's device.

    The paper's (N, s, s') is (``hardest``, ``pairs``, ``with_query``); (1024, 1024, 128) and (512, 1024, 512)
    are typical there, with a queue of 16,384 and 10 to 15 epochs before mixing starts.

    Args:
        hardest: N, out of how many negatives points are mixed.
        pairs: s, mixtures of two negatives.
        with_query: s', mixtures of a negative with the query.
        start: when mixing starts.
        unit: of ``start``: ``'epoch'``, ``'step'`` or ``'run'`` (a share of the run).
    """

    def __init__(
        self,
        hardest: int = 1024,
        pairs: int = 1024,
        with_query: int = 128,
        start: float = 10,
        unit: str = 'epoch',
    ) -> None:
        super().__init__()
        if hardest < 1 or min(pairs, with_query) < 0 or pairs + with_query < 1:
            raise ValueError(
                'Mixing: hardest and pairs + with_query must be at least 1, '
                f'got hardest={hardest}, pairs={pairs}, with_query={with_query}'
            )
        if unit not in ('epoch', 'step', 'run'):
            raise ValueError(f"Mixing: unit must be 'epoch', 'step' or 'run', got {unit!r}")
        self.hardest, self.pairs, self.with_query = hardest, pairs, with_query
        self.start, self.unit = start, unit
        self.clock: Clock | None = None

    @property
    def started(self) -> bool:
        """Whether it is time to mix."""
        clock = self.clock or Clock()
        return not self.start or clock.step >= clock.steps(self.start, self.unit, 'Mixing.start')

    def forward(self, similarities, samples):
        """See :class:`.Negatives`."""
        plain = similarities.logsumexp()
        if not self.started:
            return plain
        mixed = similarities.logits(self.cosines(similarities))
        mixed = mixed.masked_fill((plain == -torch.inf)[:, None], -torch.inf)
        return torch.cat([plain[:, None], mixed], 1).logsumexp(1)

    def cosines(self, similarities: Similarities) -> Tensor:
        """(N, pairs + with_query) of each query with its own mixtures, with gradient for the query."""
        query = similarities.query
        with torch.no_grad():
            candidates = similarities.candidates.gathered()
            keys = candidates.keys
            drawn, shares = self.draw(query, candidates)
        rows = max(1, CHUNK // (drawn.shape[1] * query.shape[1]))
        parts = zip(query.split(rows), drawn.split(rows), shares.split(rows), strict=True)
        options = dict(use_reentrant=False, preserve_rng_state=False)
        return torch.cat([checkpoint(self.mix, *part, keys, **options) for part in parts])

    def draw(self, query: Tensor, candidates) -> tuple[Tensor, Tensor]:
        """Columns (N, 2 pairs + with_query) of negatives and shares (N, pairs + with_query) of the first."""
        if self.hardest > len(candidates):
            raise ValueError(
                f'Mixing: hardest={self.hardest}, but there are only {len(candidates)} candidates; lower '
                'hardest or make the queue longer'
            )
        keep = candidates.keep if candidates.masked else None
        values, columns = hardest_keys(query, candidates.keys, self.hardest, keep)
        count = (values > -torch.inf).sum(1, keepdim=True)  # fewer where some do not count
        picks = 2 * self.pairs + self.with_query
        draws = torch.rand(
            len(query), picks + self.pairs + self.with_query, device=query.device, dtype=query.dtype
        )
        place = (draws[:, :picks] * count).long().minimum(count - 1).clamp(min=0)
        shares = draws[:, picks:].clone()
        shares[:, self.pairs :] /= 2
        return columns.gather(1, place), shares

    def mix(self, query: Tensor, drawn: Tensor, shares: Tensor, keys: Tensor) -> Tensor:
        """Cosines of some of the queries with their mixtures."""
        with torch.no_grad():
            first, second, other = keys[drawn].split([self.pairs, self.pairs, self.with_query], 1)
            own = query[:, None].expand(-1, self.with_query, -1)
            shares = shares[..., None]
            first, second = torch.cat([first, own], 1), torch.cat([second, other], 1)
            mixtures = unit(shares * first + (1 - shares) * second)
        return torch.einsum('nc,nmc->nm', query, mixtures)
