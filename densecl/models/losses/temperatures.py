"""Modules for the ``temperature=`` of a contrastive objective."""

import math

import torch
from torch import Tensor, nn

from densecl.distributed import all_reduce
from densecl.numerics import full_precision
from densecl.registry import MODELS
from densecl.schedule import Clock, Schedule
from densecl.structures import Batch, Comparison

from .candidates import Scores


class Temperature(nn.Module):
    """The base class: the temperature of each query."""

    #: Number of first channels of the vectors that are for the temperature only.
    extra_channels = 0

    def forward(self, cosine: Tensor, comparison: Comparison, extra: Tensor | None) -> Tensor | float | None:
        """The temperature: a number, a scalar or (R,); None for the temperature-free form.

        Args:
            cosine: (R,), mean cosine of a query with the answers in its own image.
            comparison: the comparison that is scored.
            extra: (R, ``extra_channels``), outputs of the projector, or None.
        """
        raise NotImplementedError

    def observe(self, scores: Scores) -> None:
        """Collect statistics of the scores for :meth:`learn`; called in training only."""

    def learn(self, batch: Batch) -> None:
        """Learn from the statistics of this step; called once a step, in training only."""


def positive_schedule(value: float | dict, name: str) -> Schedule:
    """The schedule from a number or a config; a ValueError if one of its values is not above 0."""
    schedule = Schedule.of(value, name)
    if min(schedule.values) <= 0:
        raise ValueError(f'{name} must be positive, got {value!r}')
    return schedule


@MODELS.register_module()
class LearnedTemperature(Temperature):
    """exp(-s) with a learned s, as in CLIP (Radford et al., 2021, section 2.4).

    t begins at ``start`` and never falls below ``minimum``; both defaults are CLIP's. CLIP uses no weight
    decay for s: add ``dict(match='log_scale', decay_mult=0)`` to the rules of ``ParamGroupsConstructor``.
    """

    def __init__(self, start: float = 0.07, minimum: float = 0.01) -> None:
        super().__init__()
        if not 0 < minimum <= start:
            raise ValueError(
                f'LearnedTemperature: must be 0 < minimum <= start, got minimum={minimum} and start={start}'
            )
        self.log_scale = nn.Parameter(torch.tensor(-math.log(start)))
        self.limit = -math.log(minimum)

    def forward(self, cosine, comparison, extra):
        """A scalar with gradient."""
        with torch.no_grad():  # clamp the parameter, as CLIP does after a step: so it keeps its gradient
            self.log_scale.clamp_(max=self.limit)
        return self.log_scale.neg().exp().to(cosine.dtype)


@MODELS.register_module()
class AlignmentAdaptiveTemperature(Temperature):
    """t (1 + alpha (A - A0)), where A is the mean cosine of all answers of the batch (MACL, Huang et al.,
    2023).

    MACL also divides each query's loss by 1 - P: ``reweighted=True``. The factor of t is at least 0.01.

    Args:
        value: t for A = A0: a number or a schedule's config.
        alpha: influence of the alignment A; a ValueError if t were negative for an A in [-1, 1].
        alignment: A0.
    """

    def __init__(self, value: float | dict = 0.1, alpha: float = 0.5, alignment: float = 0.0) -> None:
        super().__init__()
        least = 1 + min(alpha * (a - alignment) for a in (-1, 1))
        if least < 0:
            raise ValueError(
                f'AlignmentAdaptiveTemperature: with alpha={alpha} and alignment={alignment} the factor '
                f'1 + alpha (A - alignment) falls to {least:g}, and with it the temperature; '
                'bring alpha nearer to 0 so that it is not negative for any A from -1 to 1'
            )
        self.schedule = positive_schedule(value, f'{type(self).__name__}: value')
        self.alpha, self.alignment = alpha, alignment
        self.clock: Clock | None = None

    def forward(self, cosine, comparison, extra):
        """A scalar without gradient, the same on every rank."""
        count = comparison.match.count().flatten().to(cosine.dtype)
        total, count = all_reduce(torch.stack([(cosine.detach() * count).sum(), count.sum()]))
        mean = (total / count.clamp(min=1)).clamp(-1, 1)
        return self.schedule(self.clock) * (1 + self.alpha * (mean - self.alignment)).clamp(min=0.01)


@MODELS.register_module()
class UncertaintyTemperature(Temperature):
    """t / sigmoid(u), where u is one more output of the projector (TaU, Zhang et al., 2021).

    The projector has dim + 1 output channels: the first is u, the others are the vector. ``value`` is t, a
    number or a schedule's config. The authors' SimCLR code also has ``decoupled=True``.
    """

    extra_channels = 1

    def __init__(self, value: float | dict = 0.07) -> None:
        super().__init__()
        self.schedule = positive_schedule(value, f'{type(self).__name__}: value')
        self.clock: Clock | None = None

    def forward(self, cosine, comparison, extra):
        """(R,), with gradient."""
        u = full_precision(extra[:, 0]).clamp(min=-20)  # for much lower u, 1 / sigmoid(u) would overflow
        return self.schedule(self.clock) / u.sigmoid()


@MODELS.register_module()
class TemperatureFree(Temperature):
    """No temperature: a cosine s has the logit 2 artanh(s) (Kim and Kim, 2025).

    s is clamped to a distance of 1e-6 from -1 and 1.
    """

    def forward(self, cosine, comparison, extra):
        return None
