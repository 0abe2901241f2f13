"""Distillation of the teacher's similarities to a queue of its vectors."""

import torch
from torch import Tensor

from densecl.messages import check_choice
from densecl.models.memory import Queue
from densecl.numerics import no_autocast, unit
from densecl.registry import MODELS
from densecl.structures import Comparison

from .assignment import divergence
from .objective import MEANS, Objective, mean_of, own_mean


@no_autocast
def queue_divergence(
    student: Tensor, teacher: Tensor, classes: Tensor, temperature: float, there: Tensor | None = None
) -> Tensor:
    """KL divergence between the softmax of the teacher's and of the student's similarities to K vectors.

    Args:
        student, teacher: (..., D), normalised here; no gradient reaches the teacher.
        classes: (K, D), unit vectors of the teacher.
        temperature: > 0.
        there: (K,) bool, the classes that count; None: all.

    Returns:
        (...), >= 0.
    """
    sides = unit(student), unit(teacher.detach())
    prediction, target = (x @ classes.mT.to(x.dtype) / temperature for x in sides)
    if there is not None:
        prediction, target = (x.masked_fill(~there, -torch.inf) for x in (prediction, target))
    return divergence(prediction.log_softmax(-1), target.log_softmax(-1), there)


@MODELS.register_module()
class QueueDistillation(Objective):
    """Distillation of similarities to a queue (SEED, Fang et al., ICLR 2021; LightlyTrain's default).

    The classes are the teacher's pooled vectors of the present batch of all processes and of earlier batches.
    So the unit's own image is among the classes. Student and teacher must have the same width: use a
    projector of the head.

    Args:
        dim: width of the vectors.
        queue: number of vectors of earlier batches that are kept.
        temperature: > 0, of both sides; 0.07.
        mean: see :func:`~densecl.models.losses.objective.mean_of`.
    """

    needs = frozenset({'one answer', 'pooled'})
    sends = ('pooled',)

    def __init__(self, dim: int, queue: int = 8192, temperature: float = 0.07, mean: str = 'counted') -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f'QueueDistillation: temperature must be > 0, got {temperature}')
        self.queue = Queue(queue, dim)
        self.temperature, self.mean = temperature, check_choice('QueueDistillation: mean', mean, MEANS)

    def score(self, comparison: Comparison) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and ``pos_sim``, the mean cosine of student and teacher."""
        match, student = comparison.match, comparison.query.compared
        teacher, found = match.sum_of(comparison.key.vectors), match.found()
        batch = unit(comparison.key.of_all('pooled'))
        widths = student.shape[-1], batch.shape[-1]
        if set(widths) != {self.queue.keys.shape[1]}:
            raise ValueError(
                f'QueueDistillation: dim={self.queue.keys.shape[1]}, but student and teacher are {widths[0]} '
                f'and {widths[1]} wide; set dim to the width of the teacher, and let the projector give it'
            )
        filled = self.queue.filled()
        there = torch.cat([batch.any(1), filled])  # 0: an image without a unit
        classes = torch.cat([batch, self.queue.keys.to(batch.dtype)])
        terms = queue_divergence(student, teacher, classes, self.temperature, there)
        cosine = (unit(student) * unit(teacher)).sum(-1).detach()
        return mean_of(terms, found, self.mean), {'pos_sim': own_mean(cosine, found)}

    @torch.no_grad()
    def remember(self, keys, batch):
        """Put the batch's pooled vectors of all processes into the queue."""
        for key in keys:
            self.queue.enqueue(unit(key.of_all('pooled')), batch.of_all().indices)
