"""Weightings of negatives, for ``negatives=`` of InfoNCE."""

import math

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from densecl.messages import check_choice
from densecl.numerics import unit as unit_length
from densecl.registry import MODELS
from densecl.schedule import Clock, Schedule
from densecl.structures import Batch

from .candidates import Candidates, Scores
from .kernel import hardest_keys

# Number of entries of mixed vectors that are in memory at a time.
CHUNK = 2**22


class Mass(nn.Module):
    """The base class of weightings: the total mass of the negatives in the denominator."""

    def forward(self, scores: Scores) -> Tensor:
        """Logarithm of the negatives' part of the denominator, (R,); -inf without negatives."""
        raise NotImplementedError

    def learn(self, batch: Batch) -> None:
        """Learn from the statistics of this step; called once a step, in training only."""


@MODELS.register_module()
class Debiased(Mass):
    """Some negatives are of the query's class: subtract their expected mass (Chuang et al., 2020, eq. 8).

    ``prior`` is tau+, in [0, 1): the probability that a random candidate is of the same class. 0 is InfoNCE
    without correction.
    """

    def __init__(self, prior: float = 0.1) -> None:
        super().__init__()
        if not 0 <= prior < 1:
            raise ValueError(f'{type(self).__name__}: prior must lie in [0, 1), got {prior}')
        self.prior = prior

    def plain(self, scores: Scores) -> Tensor:
        """Logarithm of the mass before the correction, (R,)."""
        return scores.logsumexp()

    def forward(self, scores):
        log_negatives = self.plain(scores)
        if self.prior == 0:
            return log_negatives
        if scores.temperature is None:
            raise ValueError(f'{type(self).__name__} needs a temperature: its floor is n exp(-1 / t)')
        count = scores.candidates.count(scores.query)
        return debiased_log_mass(log_negatives, scores.positive, count, scores.temperature, self.prior)


def debiased_log_mass(
    log_negatives: Tensor, positive_logit: Tensor, count: Tensor, temperature: float | Tensor, prior: float
) -> Tensor:
    """``log max( (neg - prior n pos) / (1 - prior), n exp(-1/t) )``, (R,) (Chuang et al., 2020, eq. 7).

    ``log_negatives`` is ``log neg`` (R,), the log-sum-exp over the n negatives of each query; n is ``count``.
    ``positive_logit`` is ``log pos`` (R,). The lower bound is the mass of n vectors opposite to the query.
    """
    log_count = count.log()
    gap = positive_logit + log_count + math.log(prior) - log_negatives
    # log(a - b) = log a + log(1 - b/a) if b < a; otherwise only the bound remains.
    less = gap < 0
    share = torch.where(less, gap, -1.0).expm1().neg().log()
    mass = torch.where(less, log_negatives + share - math.log1p(-prior), -torch.inf)
    return mass.clamp(min=log_count - 1 / temperature)


@MODELS.register_module()
class Hard(Debiased):
    """Negatives weighted by ``exp(concentration * s / t)``, then debiased (HCL, Robinson et al., 2021).

    The gradient flows through the weights, as in the official code. ``concentration`` is a number or a
    schedule's config; with 0 all weights are equal.
    """

    def __init__(self, prior: float = 0.1, concentration: float | dict = 1.0) -> None:
        super().__init__(prior)
        self.concentration = Schedule.of(concentration, 'concentration')
        if min(self.concentration.values) < 0:
            raise ValueError(f'Hard: concentration must be at least 0, got {concentration}')
        self.clock: Clock | None = None

    def plain(self, scores):
        beta = self.concentration(self.clock)
        plain = scores.logsumexp(1 + beta)
        if beta:
            count = scores.candidates.count(scores.query)
            weights = scores.logsumexp(beta) - count.log()
            # Without negatives both are -inf, and their difference would be NaN.
            plain = torch.where(count > 0, plain - weights, plain)
        return plain


@MODELS.register_module()
class Mixing(Mass):
    """Mixtures of each query's hardest negatives are further negatives (MoCHi, Kalantidis et al., 2020).

    The denominator has all candidates and two kinds of mixed points (sections 4.1 and 4.2). There are
    ``pairs`` points ``unit(a n_i + (1 - a) n_j)`` with a uniform on [0, 1), and ``with_query`` points
    ``unit(b q + (1 - b) n_j)`` with b uniform on [0, 0.5). i and j are drawn from the query's ``hardest``
    negatives; i = j is possible. The points have no gradient. Typical values of (N, s, s') in the paper are
    (1024, 1024, 128) and (512, 1024, 512), with a queue of 16,384 and 10 to 15 epochs before mixing starts.

    Args:
        hardest: N, number of hardest negatives from which points are mixed.
        pairs: s, number of mixtures of two negatives.
        with_query: s', number of mixtures of a negative with the query.
        start: when mixing starts, in ``unit``: ``'epoch'``, ``'step'`` or ``'run'`` (a share of the run).
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
        check_choice('Mixing: unit', unit, ('epoch', 'step', 'run'))
        self.hardest, self.pairs, self.with_query = hardest, pairs, with_query
        self.start, self.unit = start, unit
        self.clock: Clock | None = None

    def forward(self, scores):
        plain = scores.logsumexp()
        if not (self.clock or Clock()).reached(self.start, self.unit, 'Mixing.start'):
            return plain
        mixed = scores.logits(self.cosines(scores))
        mixed = mixed.masked_fill((plain == -torch.inf)[:, None], -torch.inf)
        return torch.cat([plain[:, None], mixed], 1).logsumexp(1)

    def cosines(self, scores: Scores) -> Tensor:
        """Cosines of each query with its mixtures, (R, pairs + with_query), with gradient to the query."""
        query = scores.query
        with torch.no_grad():
            candidates = scores.candidates.gathered()
            drawn, shares = self.draw(query, candidates)
        rows = max(1, CHUNK // (drawn.shape[1] * query.shape[1]))
        parts = zip(query.split(rows), drawn.split(rows), shares.split(rows), strict=True)
        options = dict(use_reentrant=False, preserve_rng_state=False)
        return torch.cat([checkpoint(self.mix, *part, candidates.keys, **options) for part in parts])

    def draw(self, query: Tensor, candidates: Candidates) -> tuple[Tensor, Tensor]:
        """Draw columns of negatives (R, 2 pairs + with_query), and shares of the first part of each mixture
        (R, pairs + with_query)."""
        if candidates.pairs is not None:
            raise ValueError("Mixing mixes keys of other images: batch must not be 'image' or 'others'")
        if self.hardest > len(candidates):
            raise ValueError(
                f'Mixing: hardest={self.hardest}, but there are only {len(candidates)} candidates; lower '
                'hardest or make the queue longer'
            )
        keep = candidates.keep if candidates.masked else None
        values, columns = hardest_keys(query, candidates.keys, self.hardest, keep)
        count = (values > -torch.inf).sum(1, keepdim=True)  # less than ``hardest`` if few candidates count
        picks = 2 * self.pairs + self.with_query
        draws = query.new_empty(len(query), picks + self.pairs + self.with_query).uniform_()
        place = (draws[:, :picks] * count).long().minimum(count - 1).clamp(min=0)
        shares = draws[:, picks:]
        shares[:, self.pairs :] /= 2
        return columns.gather(1, place), shares

    def mix(self, query: Tensor, drawn: Tensor, shares: Tensor, keys: Tensor) -> Tensor:
        """Cosines of some of the queries with their mixtures."""
        with torch.no_grad():
            first, second, other = keys[drawn].split([self.pairs, self.pairs, self.with_query], 1)
            own = query[:, None].expand(-1, self.with_query, -1)
            shares = shares[..., None]
            first, second = torch.cat([first, own], 1), torch.cat([second, other], 1)
            mixtures = unit_length(shares * first + (1 - shares) * second)
        return torch.einsum('nc,nmc->nm', query, mixtures)
