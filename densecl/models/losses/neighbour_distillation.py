"""Learning from what the target says of the nearest neighbour in other images (CrIBo)."""

import torch
from torch import Tensor

from densecl.models.memory import Queue
from densecl.numerics import no_autocast, unit
from densecl.registry import MODELS
from densecl.schedule import Clock
from densecl.structures import Comparison, Units

from .assignment import cross_entropy, prediction
from .kernel import hardest_keys
from .objective import mean_of
from .self_distillation import SelfDistillation, sharpened


@torch.no_grad()
@no_autocast
def consistent_neighbours(
    rows: Tensor,
    memory: Tensor,
    twins: Tensor,
    back: Tensor,
    numbers: Tensor,
    filled: Tensor | None = None,
    valid: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The most similar remembered object of each object, and whether the way back leads home.

    A remembered object was seen in two views. The nearest in one view is taken, and its twin of the other
    view compared with all present objects of that view: only where the nearest of them is the object itself,
    the two agree (CrIBo, Lebailly et al., ICLR 2024, section 3.3).

    Args:
        rows: (N, C), present objects, in the view in which the memory is searched.
        memory, twins: (M, C), remembered objects in this and in the other view.
        back: (L, C), the present objects of all processes in the other view.
        numbers: (N,) int64, which rows of ``back`` are the objects of ``rows``.
        filled: (M,) bool, what is remembered; None: all.
        valid: (L,) bool, objects that are there; None: all.

    Returns:
        (N,) int64 places in the memory, and (N,) bool; all false where nothing is remembered.
    """
    keep = None if filled is None else lambda columns, _: filled[columns]
    similarity, nearest = (x[:, 0] for x in hardest_keys(unit(rows), unit(memory), 1, keep))
    keep = None if valid is None else lambda columns, _: valid[columns]
    _, home = hardest_keys(unit(twins[nearest]), unit(back), 1, keep)
    return nearest, (home[:, 0] == numbers) & (similarity > -torch.inf)


@MODELS.register_module()
class NeighbourDistillation(SelfDistillation):
    """:class:`SelfDistillation`, and the same of the answer's nearest neighbour in other images (CrIBo).

    Features of the target's objects, in views 0 and 1, are remembered. The neighbour of the query's answer
    passes the target's projector, and its sharpened scores are what the query predicts, too; but only where
    :func:`consistent_neighbours` agree. The mean is over these, of all processes, 0 without any. The pairs
    are both directions of views 0 and 1.

    Args:
        dim: width C of the features.
        queue: how many objects are remembered.
        start: epoch from which neighbours count.
        weight: of their loss.
        **kwargs: see :class:`SelfDistillation`.
    """

    needs = SelfDistillation.needs | {'features', 'own', 'rows'}
    sends = ('features', 'valid')

    def __init__(
        self,
        *args,
        dim: int,
        queue: int,
        start: float = 1,
        weight: float = 1.0,
        mean: str = 'counted',
        **kwargs,
    ) -> None:
        super().__init__(*args, mean=mean, **kwargs)
        self.queue = Queue(queue, 2 * dim)  # of both views, one behind the other
        self.start, self.weight = start, weight

    def score(self, comparison):
        """As of :class:`SelfDistillation`; ``neighbours``, the loss of these, and ``agreeing``, the share of
        objects whose neighbour counts.
        """
        loss, diagnostics = super().score(comparison)
        clock, found = self.clock or Clock(), comparison.match.found()
        if self.start and clock.step < clock.steps(self.start, 'epoch', 'NeighbourDistillation.start'):
            return loss, diagnostics
        targets, agree = self.neighbours(comparison)
        ours = prediction(self, comparison.query, self.student_temperature(self.clock))
        agree = agree & found
        value = mean_of(cross_entropy(ours, targets), agree, 'counted')
        return loss + self.weight * value, {
            **diagnostics,
            'neighbours': value.detach(),
            'agreeing': agree.sum() / found.sum().clamp(min=1),
        }

    @torch.no_grad()
    def neighbours(self, comparison: Comparison) -> tuple[Tensor, Tensor]:
        """(B, N, K) targets of the answers' neighbours, and (B, N) bool, which agree."""
        key, own, match = comparison.key, comparison.own, comparison.match
        shape = match.found().shape
        memory, twins = (self.queue.keys.chunk(2, 1)[self._side(units)] for units in (key, own))
        numbers = comparison.batch.numbers[:, None] * shape[1]
        numbers = numbers + torch.arange(shape[1], device=numbers.device)
        nearest, agree = consistent_neighbours(
            match.sum_of(key.features).flatten(0, 1),
            memory,
            twins,
            own.of_all('features').flatten(0, 1),
            numbers.flatten(),
            self.queue.filled(),
            None if own.valid is None else own.of_all('valid').flatten(),
        )
        scores = comparison.projector(memory[nearest].to(key.features.dtype))
        targets = sharpened(scores, self.center, self.teacher_temperature(self.clock))
        return targets.unflatten(0, shape), agree.unflatten(0, shape)

    @torch.no_grad()
    def remember(self, keys, batch):
        """Move the centre; put the objects that are there, of all processes, into the queue."""
        super().remember(keys, batch)
        sides = {self._side(key): key for key in keys}
        if len(sides) < 2:
            raise ValueError(
                'NeighbourDistillation remembers objects in two views: give pairs=((0, 1), (1, 0))'
            )
        rows = torch.cat([sides[v].of_all('features').flatten(0, 1) for v in (0, 1)], 1)
        valid = [x.of_all('valid').flatten() for x in sides.values() if x.valid is not None]
        self.queue.enqueue(rows, valid=torch.stack(valid).all(0) if valid else None)

    def _side(self, units: Units) -> int:
        if units.view > 1:
            raise ValueError(
                f'NeighbourDistillation compares views 0 and 1, pairs name view {units.view}; change pairs'
            )
        return units.view
