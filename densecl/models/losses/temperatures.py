"""Which temperature: the ``temperature=`` choice of a contrastive objective."""

import math

import torch
from torch import Tensor, nn

from densecl.distributed import all_reduce, world_size
from densecl.registry import MODELS
from densecl.schedule import Clock, Schedule

from .functional import full_precision
from .samples import Samples
from .similarities import Similarities


class Temperature(nn.Module):
    """The same number throughout the run, or one on a :class:`~densecl.schedule.Schedule`.

    Args:
        value: t > 0, or a schedule's config, ``dict(start=0.5, end=0.1)``.
    """

    #: Channels that the query carries in front of its vector for the temperature's use.
    extra_channels = 0

    def __init__(self, value: float | dict) -> None:
        super().__init__()
        self.schedule = Schedule.of(value, 'temperature')
        self.clock: Clock | None = None
        if min(self.schedule.values) <= 0:
            raise ValueError(f'InfoNCE: temperature must be positive, got {value}')

    def forward(self, cosine: Tensor, samples: Samples, extra: Tensor | None) -> Tensor | float | None:
        """The temperature of each query.

        Args:
            cosine: (N,), with the positive.
            samples: the images behind the queries.
            extra: (N, ``extra_channels``) outputs of the projector, or None.

        Returns:
            A number, a scalar or (N,); None for the temperature-free form.
        """
        return self.schedule(self.clock)

    def observe(self, similarities: Similarities, samples: Samples) -> None:
        """Learn from the batch that was just scored; called in training only."""


@MODELS.register_module()
class LearnedTemperature(Temperature):
    """exp(-s) with a learned s, as in CLIP (Radford et al., 2021, section 2.4).

    CLIP leaves it without weight decay: ``dict(match='log_scale', decay_mult=0)`` among the rules of
    ``ParamGroupsConstructor``.

    Args:
        start: t at the beginning, 0.07 in CLIP.
        minimum: t never falls below; 0.01 in CLIP (a logit scale of at most 100).
    """

    def __init__(self, start: float = 0.07, minimum: float = 0.01) -> None:
        super().__init__(start)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(start)))
        self.limit = -math.log(minimum)

    def forward(self, cosine, samples, extra):
        """A scalar with gradient."""
        with torch.no_grad():  # as CLIP clips after the step: the gradient never dies at the limit
            self.log_scale.clamp_(max=self.limit)
        return self.log_scale.neg().exp().to(cosine.dtype)


@MODELS.register_module()
class AlignmentAdaptiveTemperature(Temperature):
    """t (1 + alpha (A - A0)), A being the mean positive cosine of the batch (MACL, Huang et al., 2023).

    MACL also divides each query's loss by 1 - P: ``positives=dict(type='Reweighted')``.

    Args:
        value: t where A = A0.
        alpha: how much the alignment counts.
        alignment: A0.
    """

    def __init__(self, value: float | dict = 0.1, alpha: float = 0.5, alignment: float = 0.0) -> None:
        super().__init__(value)
        self.alpha = alpha
        self.alignment = alignment

    def forward(self, cosine, samples, extra):
        """A scalar without gradient, the same on every rank."""
        mean = all_reduce(cosine.detach().mean()) / world_size()
        return self.schedule(self.clock) * (1 + self.alpha * (mean - self.alignment))


@MODELS.register_module()
class UncertaintyTemperature(Temperature):
    """t / sigmoid(u), u being one more output of the projector (TaU, Zhang et al., 2021).

    The projector's first output channel is u, the rest the vector: it has dim + 1 outputs. The authors'
    SimCLR code also takes the positive out of the denominator: ``positives=dict(type='Decoupled')``.

    Args:
        value: t, 0.07 in the official code.
    """

    extra_channels = 1

    def __init__(self, value: float | dict = 0.07) -> None:
        super().__init__(value)

    def forward(self, cosine, samples, extra):
        """(N,), with gradient."""
        return self.schedule(self.clock) / full_precision(extra[:, 0]).sigmoid()


@MODELS.register_module()
class TemperatureFree(Temperature):
    """No temperature at all: a cosine s has the logit 2 artanh(s) (Kim and Kim, 2025).

    Cosines are kept 1e-6 away from -1 and 1, which bounds the logits by 14.5.
    """

    def __init__(self) -> None:
        super().__init__(1.0)

    def forward(self, cosine, samples, extra):
        """None."""
        return None
