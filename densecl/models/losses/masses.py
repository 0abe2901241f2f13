"""What ``negatives=`` of an InfoNCE loss may be: choices of false negatives, and weightings."""

import math

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from densecl.numerics import unit as unit_length
from densecl.registry import MODELS
from densecl.schedule import Clock, Schedule
from densecl.structures import Batch, Units

from .candidates import Candidates, Scores
from .kernel import Keep, hardest_keys

# Numbers in the mixed vectors that are in memory at once.
CHUNK = 2**22


class Mass(nn.Module):
    """How negatives are weighted."""

    def forward(self, scores: Scores) -> Tensor:
        """(R,) log of the negatives' part of the denominator, -inf where there are none."""
        raise NotImplementedError

    def learn(self, batch: Batch) -> None:
        """Take in what this step's scores told; called once a step, in training only."""


class Filter(nn.Module):
    """Which candidates are false negatives.

    ``treatment='elimination'`` takes them out of the denominator; ``'attraction'`` leaves them there and
    makes them answers too: ``-1/(1 + |F|) sum log softmax`` over the answer and F.
    """

    def __init__(self, treatment: str = 'elimination') -> None:
        super().__init__()
        if treatment not in ('elimination', 'attraction'):
            raise ValueError(
                f"{type(self).__name__}: treatment must be 'elimination' or 'attraction', got {treatment!r}"
            )
        #: What its candidates become.
        self.role = 'ignored' if treatment == 'elimination' else 'answer'

    def rule(self, scores: Scores) -> Keep | None:
        """``rule(columns, cosines (R, k)) -> bool (R, k)``: which are false negatives; None: none yet."""
        raise NotImplementedError

    def learn(self, keys: list[Units], batch: Batch) -> None:
        """Take in the step's key sets and scores; called once a step, in training only."""


@MODELS.register_module()
class Debiased(Mass):
    """Some negatives are of the query's class: take their expected share away (Chuang et al., 2020, eq. 8).

    ``prior`` is tau+, the probability, in [0, 1), that a random candidate is of the same
    class; 0 is the plain form.
    """

    def __init__(self, prior: float = 0.1) -> None:
        super().__init__()
        if not 0 <= prior < 1:
            raise ValueError(f'{type(self).__name__}: prior must lie in [0, 1), got {prior}')
        self.prior = prior

    def plain(self, scores: Scores) -> Tensor:
        """(R,) log mass before the share of false negatives is taken away."""
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

    ``log neg`` is the (R,) log-sum-exp over the ``count`` n negatives of each query, ``log pos`` its (R,)
    positive logit. The lower bound is what n opposite vectors would have.
    """
    log_count = count.log()
    gap = positive_logit + log_count + math.log(prior) - log_negatives
    # log(a - b) = log a + log(1 - b/a) where b < a; elsewhere only the bound is left.
    less = gap < 0
    share = torch.where(less, gap, -1.0).expm1().neg().log()
    mass = torch.where(less, log_negatives + share - math.log1p(-prior), -torch.inf)
    return mass.clamp(min=log_count - 1 / temperature)


@MODELS.register_module()
class Hard(Debiased):
    """Negatives weighted by ``exp(concentration * s / t)``, then debiased (HCL, Robinson et al., 2021).

    The gradient flows through the weights, as in the official code. ``concentration`` is a number or a
    schedule's config; 0 weights all alike.
    """

    def __init__(self, prior: float = 0.1, concentration: float | dict = 1.0) -> None:
        super().__init__(prior)
        self.concentration = Schedule.of(concentration, 'concentration')
        self.clock: Clock | None = None

    def plain(self, scores):
        beta = self.concentration(self.clock)
        plain = scores.logsumexp(1 + beta)
        if beta:
            count = scores.candidates.count(scores.query)
            weights = scores.logsumexp(beta) - count.log()
            # Without negatives both are -inf: nothing to weight.
            plain = torch.where(count > 0, plain - weights, plain)
        return plain


@MODELS.register_module()
class Mixing(Mass):
    """Mixtures of each query's hardest negatives are negatives too (MoCHi, Kalantidis et al., 2020).

    Beside all candidates the denominator has ``pairs`` points ``unit(a n_i + (1 - a) n_j)``, a uniform on
    [0, 1), and ``with_query`` points ``unit(b q + (1 - b) n_j)``, b uniform on [0, 0.5), where i and j are
    drawn from the query's ``hardest`` negatives (sections 4.1 and 4.2; i = j may happen). No gradient goes
    through the points. Typical in the paper are (N, s, s') of (1024, 1024, 128) and (512, 1024, 512), with a
    queue of 16,384 and 10 to 15 epochs before mixing starts.

    Args:
        hardest: N, out of how many negatives points are mixed.
        pairs: s, mixtures of two negatives.
        with_query: s', mixtures of a negative with the query.
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
        if unit not in ('epoch', 'step', 'run'):
            raise ValueError(f"Mixing: unit must be 'epoch', 'step' or 'run', got {unit!r}")
        self.hardest, self.pairs, self.with_query = hardest, pairs, with_query
        self.start, self.unit = start, unit
        self.clock: Clock | None = None

    def forward(self, scores):
        plain, clock = scores.logsumexp(), self.clock or Clock()
        if self.start and clock.step < clock.steps(self.start, self.unit, 'Mixing.start'):
            return plain
        mixed = scores.logits(self.cosines(scores))
        mixed = mixed.masked_fill((plain == -torch.inf)[:, None], -torch.inf)
        return torch.cat([plain[:, None], mixed], 1).logsumexp(1)

    def cosines(self, scores: Scores) -> Tensor:
        """(N, pairs + with_query) of each query with its own mixtures, with gradient for the query."""
        query = scores.query
        with torch.no_grad():
            candidates = scores.candidates.gathered()
            drawn, shares = self.draw(query, candidates)
        rows = max(1, CHUNK // (drawn.shape[1] * query.shape[1]))
        parts = zip(query.split(rows), drawn.split(rows), shares.split(rows), strict=True)
        options = dict(use_reentrant=False, preserve_rng_state=False)
        return torch.cat([checkpoint(self.mix, *part, candidates.keys, **options) for part in parts])

    def draw(self, query: Tensor, candidates: Candidates) -> tuple[Tensor, Tensor]:
        """Columns (N, 2 pairs + with_query) of negatives and shares (N, pairs + with_query) of the first."""
        if candidates.pairs is not None:
            raise ValueError("Mixing mixes keys of other images: batch must not be 'image' or 'others'")
        if self.hardest > len(candidates):
            raise ValueError(
                f'Mixing: hardest={self.hardest}, but there are only {len(candidates)} candidates; lower '
                'hardest or make the queue longer'
            )
        keep = candidates.keep if candidates.masked else None
        values, columns = hardest_keys(query, candidates.keys, self.hardest, keep)
        count = (values > -torch.inf).sum(1, keepdim=True)  # fewer where some do not count
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
