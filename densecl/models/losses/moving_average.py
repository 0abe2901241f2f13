"""A moving average of each image's negatives, and a temperature for each image (SogCLR, iSogCLR).

g is the mean of ``exp(s / t)`` over the n negatives, and u is the moving average of g. Both methods use the
gradient ``sum_j w_j grad s_j / n - grad s_positive``, where ``w_j = exp(s_j / t) / u`` is constant. This is
the gradient of t times the decoupled loss ``log(n u) - s_positive / t``, if ``log(n u)`` has ``g / u`` times
the gradient of the log-sum-exp. So they are ``decoupled=True`` and ``times_temperature=True``. The surrogate
loss of the official code has the same gradient, but another value.
"""

import math

import torch
from torch import Tensor

from densecl.models.memory import PerImage
from densecl.registry import MODELS

from .masses import Mass
from .temperatures import Temperature


def average_logs(before: Tensor, new: Tensor, gamma: float) -> Tensor:
    """``log((1 - gamma) e^before + gamma e^new)``; ``new`` where ``before`` is -inf (no value yet)."""
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

    ``u <- (1 - gamma) u + gamma g``, where g is the mean of ``exp(s / t)`` over the negatives; u = g when an
    image is first seen. The mass of a query is n u, updated with its own g. The stored u of an image is
    updated with the mean of g over its queries and views, as in the official GloFND code. (The official
    iSogCLR repository sums over the two views.)

    Args:
        images: number of images of the data set; None: ``DataSizeHook`` sets it.
        gamma: share of the present batch; 0.9 in the official recipes, 0.8 for iSogCLR.
    """

    def __init__(self, images: int | None = None, gamma: float = 0.9) -> None:
        super().__init__()
        _check_gamma('MovingAverage', gamma)
        self.gamma = gamma
        self.state = PerImage(images, 'MovingAverage', log_mean=-math.inf)

    def forward(self, scores):
        """See :class:`.Mass`. It also collects g of each row, as it is computed here."""
        comparison, lse = scores.comparison, scores.logsumexp()
        count = scores.candidates.count(scores.query)
        before = scores.of_rows(self.state.read(comparison.batch, 'log_mean')).to(lse.dtype)
        lse = lse.masked_fill(count == 0, 0.0)  # no -inf in the lines below, which would make NaN
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
    """A learned temperature for every image, with its own gradient descent (iSogCLR, Qiu et al., 2023,
    algorithm 1).

    ``v <- (1 - beta) v + beta grad``, ``t <- t - lr v``, clamped to ``limits``. ``grad``, clipped, is the
    mean of ``log u + rho - sum_j w_j (s_j / t) / n`` over the image's queries and views; for u and w see the
    top of this file. All candidates count, also the false negatives that a rule removes.

    iSogCLR also has ``negatives=dict(type='MovingAverage', gamma=0.8, ...)``, ``decoupled=True`` and
    ``times_temperature=True``.

    Args:
        images: number of images of the data set; None: ``DataSizeHook`` sets it.
        start: t at the beginning.
        limits: smallest and largest t.
        rho: a constant slope that lowers all temperatures; the radius of the ball in the robust loss.
        gamma: share of the present batch in u.
        beta: share of the present gradient in v.
        lr: learning rate of the temperatures.
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
        """The temperature of each query's image, (R,), without gradient."""
        of_images = self.state.read(comparison.batch, 'temperature').to(cosine.dtype)
        return of_images.repeat_interleave(len(cosine) // len(of_images))

    @torch.no_grad()
    def observe(self, scores):
        """Collect the mean of ``exp(s / t)`` and the gradient of t for each row."""
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
        """One step of gradient descent on the temperatures of the step's images."""
        if (closed := self.state.close()) is None:
            return
        images, mean, slope = closed
        names = ('velocity', 'temperature', 'log_mean')
        velocity, temperature, before = (getattr(self.state, name)[images].double() for name in names)
        velocity = velocity * (1 - self.beta) + self.beta * slope.clamp(-self.clip, self.clip)
        temperature = (temperature - self.lr * velocity).clamp(*self.limits)
        log_mean = average_logs(before, mean.log(), self.gamma)
        self.state.write(images, temperature=temperature, velocity=velocity, log_mean=log_mean)
