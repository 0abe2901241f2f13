"""How the negatives are weighted: the ``negatives=`` choice of a contrastive objective.

Each answers one question: the logarithm of the negatives' part of the denominator, ``log sum exp(s / t)`` in
the plain form.
"""

import torch
from torch import Tensor

from densecl.registry import MODELS
from densecl.schedule import Clock, Schedule

from .functional import debiased_log_mass
from .parts import Mass
from .samples import Samples
from .similarities import Similarities


class Negatives(Mass):
    """All negatives count alike."""

    def forward(self, similarities: Similarities, samples: Samples) -> Tensor:
        """(N,) log of the negatives' share of the denominator; -inf where there are none."""
        return similarities.logsumexp()

    def attracted(self, similarities: Similarities, samples: Samples) -> tuple[Tensor, Tensor] | None:
        """Sum of the logits (N,) and number (N,) of candidates that are positives too, or None."""
        return None

    def observe(self, similarities: Similarities, samples: Samples) -> None:
        """Learn from the batch that was just scored; called in training only."""


@MODELS.register_module()
class Debiased(Negatives):
    """Some negatives are of the query's class: take their expected share away (Chuang et al., 2020, eq. 8).

    Args:
        prior: tau+, the probability that a random candidate is of the same class; 0 is the plain form.
    """

    def __init__(self, prior: float = 0.1) -> None:
        super().__init__()
        if not 0 <= prior < 1:
            raise ValueError(f'{type(self).__name__}: prior must lie in [0, 1), got {prior}')
        self.prior = prior

    def forward(self, similarities, samples=None):
        """See :class:`Negatives`."""
        return self.debias(similarities.logsumexp(), similarities)

    def debias(self, log_negatives: Tensor, similarities: Similarities) -> Tensor:
        """(N,) log mass of negatives whose plain mass is given."""
        if self.prior == 0:
            return log_negatives
        if similarities.temperature is None:
            raise ValueError(f'{type(self).__name__} needs a temperature: its floor is n exp(-1 / t)')
        count = similarities.candidates.count(similarities.query)
        return debiased_log_mass(
            log_negatives, similarities.positive, count, similarities.temperature, self.prior
        )


@MODELS.register_module()
class Hard(Debiased):
    """Negatives weighted by ``exp(concentration * s / t)``, then debiased (HCL, Robinson et al., 2021).

    The gradient flows through the weights, as in the official code.

    Args:
        prior: tau+, see :class:`Debiased`.
        concentration: beta, a number or a schedule's config; 0 weights all alike.
    """

    def __init__(self, prior: float = 0.1, concentration: float | dict = 1.0) -> None:
        super().__init__(prior)
        self.concentration = Schedule.of(concentration, 'concentration')
        self.clock: Clock | None = None

    def forward(self, similarities, samples=None):
        """See :class:`Negatives`."""
        beta = self.concentration(self.clock)
        plain = similarities.logsumexp(1 + beta)
        if beta:
            count = similarities.candidates.count(similarities.query)
            weights = similarities.logsumexp(beta) - count.log()
            # Without negatives both are -inf: nothing to weight.
            plain = torch.where(count > 0, plain - weights, plain)
        return self.debias(plain, similarities)
