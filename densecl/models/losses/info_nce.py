"""The contrastive objective: four choices in one formula."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from densecl.distributed import all_gather
from densecl.models.memory import Queue
from densecl.registry import MODELS

from .candidates import Candidates, batch_candidates
from .functional import unit
from .negatives import Negatives
from .positives import Positives
from .samples import Samples
from .similarities import Similarities
from .temperatures import Temperature, TemperatureFree


@MODELS.register_module()
class InfoNCE(nn.Module):
    """``-log( e^(q.k+ / t) / (e^(q.k+ / t) + sum_k e^(q.k / t)) )``, mean over the queries, on unit vectors.

    What differs between the contrastive losses are four choices: who the negatives are (``queue``,
    ``batch``), how they are weighted (``negatives``), at which ``temperature``, and how the positives enter
    (``positives``). MoCo's loss (He et al., 2020) has a queue alone; SimCLR's has ``queue=0,
    batch='views'``; MoCo v3's and DirectCLR's ``queue=0, batch='keys'``.

    Over processes: negatives of the batch come from all of them, each process scores its own queries, and
    the mean of losses and gradients over equal batches is that of one process with the whole batch. The
    similarity matrix is never in memory as a whole.

    Args:
        temperature: t > 0; a schedule, ``dict(start=0.5, end=0.1)``; or a module config such as
            ``dict(type='LearnedTemperature')``.
        queue: number of earlier keys that serve as negatives; 0 for none. The loss is computed first and the
            keys of the batch enter afterwards, so they are never their own negatives.
        dim: width C of the keys in the queue.
        batch: negatives of the batch: ``'keys'``, those of other images; ``'views'``, these and the queries
            of other images; None for none.
        negatives: module config of their weighting, such as ``dict(type='Debiased', prior=0.1)``.
        positives: module config of how the positives enter, such as ``dict(type='Decoupled')``.
        times_temperature: multiply each query's loss by its temperature, so that the size of the gradient
            does not depend on it.
    """

    def __init__(
        self,
        temperature: float | dict = 0.2,
        queue: int = 65536,
        dim: int = 128,
        batch: str | None = None,
        negatives: dict | None = None,
        positives: dict | None = None,
        times_temperature: bool = False,
    ) -> None:
        super().__init__()
        if batch not in (None, 'keys', 'views'):
            raise ValueError(f"InfoNCE: batch must be None, 'keys' or 'views', got {batch!r}")
        if not queue and batch is None:
            raise ValueError("InfoNCE: no negatives; set queue > 0 or batch='keys' or 'views'")
        typed = isinstance(temperature, dict) and 'type' in temperature
        self.temperature = MODELS.build(temperature) if typed else Temperature(temperature)
        if times_temperature and isinstance(self.temperature, TemperatureFree):
            raise ValueError('InfoNCE: times_temperature needs a temperature; TemperatureFree has none')
        self.queue = Queue(queue, dim) if queue else None
        self.batch = batch
        self.negatives = Negatives() if negatives is None else MODELS.build(negatives)
        self.positives = Positives() if positives is None else MODELS.build(positives)
        self.times_temperature = times_temperature

    def forward(
        self,
        query: Tensor,
        positive: Tensor,
        new_keys: Tensor | None = None,
        samples: Samples | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """:meth:`score` the matches, then, in training, :meth:`remember` the keys.

        Args:
            query: (N, C).
            positive: (N, C), the key of each query.
            new_keys: (B, C), one vector an image of the key view: what enters the queue and serves other
                images as negative; ``positive`` by default.
            samples: the images behind the rows.

        Returns:
            The scalar loss, and diagnostics without gradient: ``pos_sim``, the mean cosine of the positive
            pairs, and ``top1``, the share of queries whose positive beats all negatives (near 1 early in
            training it means that batch statistics leak the answer).
        """
        keys = positive if new_keys is None else new_keys
        result = self.score(query, positive, keys, samples)
        if self.training:
            self.remember(keys, samples)
        return result

    def score(
        self, query: Tensor, positive: Tensor, keys: Tensor, samples: Samples | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and diagnostics; the queue stays as it is, so that several sets of queries may meet it."""
        samples = Samples() if samples is None else samples
        with torch.autocast(query.device.type, enabled=False):
            return self._score(query, positive, keys, samples)

    @torch.no_grad()
    def remember(self, keys: Tensor, samples: Samples | None = None) -> None:
        """Put the (B, C) keys of all processes in the queue, where there is one."""
        if self.queue is None:
            return
        indices = None if samples is None else samples.indices
        self.queue.enqueue(
            all_gather(unit(self._split(keys)[0])),
            None if indices is None else all_gather(indices),
        )

    def _score(self, query: Tensor, positive: Tensor, keys: Tensor, samples: Samples):
        query, extra = self._split(query)
        query, positive = unit(query), unit(self._split(positive)[0])
        cosine = (query * positive).sum(-1)
        samples, keys = self._vectors(samples), self._split(keys)[0]
        everyone = self.candidates(query, keys, samples)
        temperature = self.temperature(cosine, samples, extra)
        negatives = self.positives.restrict(everyone, samples)
        similarities = Similarities(
            query, cosine, negatives, temperature, keys=unit(keys.detach())
        )
        log_mass = self.negatives(similarities, samples)
        losses = self.positives(similarities, log_mass, everyone, samples)
        attracted = self.negatives.attracted(similarities, samples)
        if attracted is not None:  # mean over 1 + count positives in place of the one
            total, count = attracted
            losses = losses + similarities.positive - (similarities.positive + total) / (1 + count)
        if self.times_temperature:
            losses = losses * temperature
        if self.training:
            self.temperature.observe(similarities, samples)
            self.negatives.observe(similarities, samples)
        diagnostics = {'pos_sim': cosine.detach().mean()}
        if similarities.hardest is not None:
            diagnostics['top1'] = (cosine.detach() > similarities.hardest).float().mean()
        return losses.mean(), diagnostics

    def candidates(self, query: Tensor, keys: Tensor, samples: Samples) -> Candidates:
        """Queue and batch as one set of keys.

        Args:
            query: (N, C) unit vectors.
            keys: (B, C), one an image.
            samples: the images behind the rows.
        """
        if self.queue is None:
            return batch_candidates(query, keys, samples, self.batch == 'views')
        # No copy of the keys, which are many: who visits them in the backward pass makes one.
        keys_before = self.queue.keys.to(query.dtype)
        queued = Candidates(keys_before, indices=self.queue.images.clone(), passing=True)
        if self.batch is None:
            return queued
        return queued.joined(batch_candidates(query, keys, samples, self.batch == 'views', False))

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """The vectors (N, C), and what the projector put out for the temperature's use."""
        extra = self.temperature.extra_channels
        return (x[..., extra:], x[..., :extra]) if extra else (x, None)

    def _vectors(self, samples: Samples) -> Samples:
        """The samples with vectors of width C."""
        parts = {
            name: self._split(x)[0]
            for name in ('queries', 'support')
            if (x := getattr(samples, name)) is not None
        }
        return replace(samples, **parts)
