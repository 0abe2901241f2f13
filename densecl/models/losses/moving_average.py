"""A moving average of each image's negatives, and a temperature for each image (SogCLR, iSogCLR).

With g the mean over the n negatives of ``exp(s / t)`` and u its moving average, both descend along
``sum_j w_j grad s_j / n - grad s_positive``, where ``w_j = exp(s_j / t) / u`` has no gradient. That is the
gradient of t times the decoupled loss ``log(n u) - s_positive / t``, where ``log(n u)`` has ``g / u`` times
the gradient of the log-sum-exp: ``decoupled=True`` and ``times_temperature=True``. The official surrogate has
the same gradient and another value.
"""

import math

import torch
from torch import Tensor

from densecl.models.memory import PerImage
from densecl.registry import MODELS

from .masses import Mass
from .temperatures import Temperature


def average_logs(before: Tensor, new: Tensor, gamma: float) -> Tensor:
    """``log((1 - gamma) e^before + gamma e^new)``; ``new`` itself where before is -inf: nothing yet."""
    if gamma == 1:
        return new
    both = torch.logaddexp(before + math.log1p(-gamma), new + math.log(gamma))
    return torch.where(before == -torch.inf, new, both)


def _check_gamma(owner: str, gamma: float) -> None:
    if not 0 < gamma <= 1:
        raise ValueError(f'{owner}: gamma must lie in (0, 1], got {gamma}')


@MODELS.register_module()
class MovingAverage(Mass):
    """The mass of the negatives is a moving average over epochs (SogCLR, Yuan et al., 2022, algorithm 1).

    ``u <- (1 - gamma) u + gamma g``, g being the mean of ``exp(s / t)`` over the negatives; u = g when an
    image is first seen. A query's mass is n u with its own g; the image keeps the mean over its queries and
    views, as the official GloFND code does (the official iSogCLR repository adds the two views up).

    Args:
        images: number of images of the data set; ``DataSizeHook`` fills in None.
        gamma: share of the present batch; 0.9 in the official recipes, 0.8 for iSogCLR.
    """

    def __init__(self, images: int | None = None, gamma: float = 0.9) -> None:
        super().__init__()
        _check_gamma('MovingAverage', gamma)
        self.gamma = gamma
        self.state = PerImage(images, 'MovingAverage', log_mean=-math.inf)

    def forward(self, scores):
        """See :class:`.Mass`; keeps each row's g, for here the sums are at hand."""
        comparison, lse = scores.comparison, scores.logsumexp()
        count = scores.candidates.count(scores.query)
        before = scores.of_rows(self.state.read(comparison.batch, 'log_mean')).to(lse.dtype)
        lse = lse.masked_fill(count == 0, 0.0)  # -inf has no part in what follows
        log_count = count.clamp(min=1).log()
        new = lse.detach() - log_count
        if self.training:
            counted = comparison.match.found().flatten() & (count > 0)
            self.state.collect(comparison.batch, counted, new.double().exp())
        mean = average_logs(before, new, self.gamma)
        log_mass = mean + log_count + (new - mean).exp() * (lse - lse.detach())
        return log_mass.masked_fill(count == 0, -torch.inf)

    def learn(self, batch):
        """Move the averages of the step's images."""
        if (closed := self.state.close()) is not None:
            images, mean = closed
            before = self.state.log_mean[images].double()
            self.state.write(images, log_mean=average_logs(before, mean.log(), self.gamma))


@MODELS.register_module()
class PerSampleTemperature(Temperature):
    """A temperature for every image that descends on its own (iSogCLR, Qiu et al., 2023, algorithm 1).

    ``v <- (1 - beta) v + beta grad``, ``t <- t - lr v``, kept between the limits. ``grad``, clipped, is the
    mean of ``log u + rho - sum_j w_j (s_j / t) / n`` over the image's queries and views, with u and w as
    above. All candidates count, also those that a choice of false negatives leaves out.

    iSogCLR also has ``negatives=dict(type='MovingAverage', gamma=0.8, ...)``, ``decoupled=True`` and
    ``times_temperature=True``.

    Args:
        images: number of images of the data set; ``DataSizeHook`` fills in None.
        start: t at the beginning.
        limits: smallest and largest t.
        rho: slope that pushes all temperatures down; the radius of the robust loss's ball.
        gamma: share of the present batch in u.
        beta: share of the present gradient in v.
        lr: of the temperatures.
        clip: largest absolute value of the gradient.
    """

    def __init__(
        self,
        images: int | None = None,
        start: float = 0.1,
        limits: tuple[float, float] = (0.05, 1.0),
        rho: float = 0.4,
        gamma: float = 0.8,
        beta: float = 0.5,
        lr: float = 0.03,
        clip: float = 3.0,
    ) -> None:
        super().__init__()
        _check_gamma('PerSampleTemperature', gamma)
        if not 0 < limits[0] <= start <= limits[1]:
            raise ValueError(
                f'PerSampleTemperature: start must lie between the limits, got {start} and {limits}'
            )
        self.limits, self.rho, self.gamma = tuple(limits), rho, gamma
        self.beta, self.lr, self.clip = beta, lr, clip
        start = dict(temperature=start, velocity=0.0, log_mean=-math.inf)
        self.state = PerImage(images, 'PerSampleTemperature', **start)

    def forward(self, cosine, comparison, extra):
        """(R,), without gradient."""
        of_images = self.state.read(comparison.batch, 'temperature').to(cosine.dtype)
        return of_images.repeat_interleave(len(cosine) // len(of_images))

    @torch.no_grad()
    def observe(self, scores):
        """Keep each row's mean of ``exp(s / t)`` and slope."""
        batch, count = scores.comparison.batch, scores.candidates.count(scores.query)
        lse = scores.logsumexp()

        def expected(cosine: Tensor, lse: Tensor) -> Tensor:
            logits = scores.logits(cosine)
            return logits * (logits - lse[:, None]).exp()

        new = lse - count.log()
        before = scores.of_rows(self.state.read(batch, 'log_mean')).to(lse.dtype)
        mean = average_logs(before, new, self.gamma)
        slope = mean + self.rho - scores.sum_of(expected, lse) * (new - mean).exp()
        counted = scores.comparison.match.found().flatten() & (count > 0)
        self.state.collect(batch, counted, new.double().exp(), slope)

    def learn(self, batch):
        """One step on the temperatures of the step's images."""
        if (closed := self.state.close()) is None:
            return
        images, mean, slope = closed
        names = ('velocity', 'temperature', 'log_mean')
        velocity, temperature, before = (getattr(self.state, name)[images].double() for name in names)
        velocity = velocity * (1 - self.beta) + self.beta * slope.clamp(-self.clip, self.clip)
        temperature = (temperature - self.lr * velocity).clamp(*self.limits)
        log_mean = average_logs(before, mean.log(), self.gamma)
        self.state.write(images, temperature=temperature, velocity=velocity, log_mean=log_mean)
