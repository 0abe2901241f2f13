"""Self-distillation from the nearest neighbour in other images (CrIBo)."""

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
    """The nearest stored object of each object, and whether both views agree on it (cycle consistency).

    A stored object has features from two views. In one view, its nearest stored object is found for each
    present object. The features of this stored object from the other view (its twin) are then compared with
    all present objects in that view. The views agree if the nearest of them is the object itself (CrIBo,
    Lebailly et al., ICLR 2024, section 3.3).

    Args:
        rows: (N, C), present objects, in the view in which the memory is searched.
        memory, twins: (M, C), stored objects in this and in the other view.
        back: (L, C), the present objects of all processes in the other view.
        numbers: (N,) int64, which rows of ``back`` are the objects of ``rows``.
        filled: (M,) bool, which places of the memory are filled; None: all.
        valid: (L,) bool, which rows of ``back`` exist; None: all.

    Returns:
        (N,) int64, places in the memory; and (N,) bool, whether the views agree, false if the memory is
        empty.
    """
    keep = None if filled is None else lambda columns, _: filled[columns]
    similarity, nearest = (x[:, 0] for x in hardest_keys(unit(rows), unit(memory), 1, keep))
    keep = None if valid is None else lambda columns, _: valid[columns]
    _, home = hardest_keys(unit(twins[nearest]), unit(back), 1, keep)
    return nearest, (home[:, 0] == numbers) & (similarity > -torch.inf)


@MODELS.register_module()
class NeighbourDistillation(SelfDistillation):
    """:class:`SelfDistillation` from the answer, and also from its nearest neighbour in other images (CrIBo).

    A queue stores features of the target's objects in views 0 and 1. The neighbour of the query's answer goes
    through the target's projector, and the query also predicts its sharpened scores. This is done only for
    objects whose views agree, see :func:`consistent_neighbours`. The mean is over these objects of all
    processes, 0 if there are none. The head's pairs must be both directions of views 0 and 1.

    Args:
        dim: width C of the features.
        queue: number of objects in the queue.
        start: epoch from which neighbours count.
        weight: factor of the neighbours' loss.
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
        self.queue = Queue(queue, 2 * dim)  # the features of both views, concatenated
        self.start, self.weight = start, weight

    def score(self, comparison):
        """See :class:`SelfDistillation`. Besides, ``neighbours`` is the loss of neighbours, and ``agreeing``
        is the share of objects whose neighbour counts.
        """
        loss, diagnostics = super().score(comparison)
        found = comparison.match.found()
        if not (self.clock or Clock()).reached(self.start, 'epoch', 'NeighbourDistillation.start'):
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
        """Targets from the answers' neighbours (B, N, K), and where the views agree on them, (B, N) bool."""
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
        """Move the centre, and put the valid objects of all processes into the queue."""
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
