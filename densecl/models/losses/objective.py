"""The base class of objectives, the weighted sum of several, and the ways to take a mean over units."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from densecl.distributed import all_reduce, world_size
from densecl.models.memory import Queue
from densecl.registry import MODELS
from densecl.structures import Batch, Comparison, Units


class Objective(nn.Module):
    """Scores how well units match: the base class of all losses.

    A head first scores every pair of views. Then, in training, the objective stores the step's keys, once.
    """

    #: Properties that units must have (``UnitProducer.gives``). Besides, ``'one answer'`` and ``'rows'`` (the
    #: units themselves) are needed from the matching rule, and ``'own'`` from the head.
    needs: ClassVar[frozenset[str]] = frozenset()
    #: Whether it has candidates of other images, which a rule may turn into answers (``Match.across``).
    across: ClassVar[bool] = False
    #: Whether it multiplies the terms of units by ``Match.weight``.
    weighs: ClassVar[bool] = False
    #: Whether it compares with a key at all.
    needs_keys: ClassVar[bool] = True
    #: Whether it compares assignments to prototypes. It then logs ``groups``, how many groups they separate.
    assigns: ClassVar[bool] = False
    #: Whether it keeps or learns something of the keys besides its queues and its state for each image.
    keeps_keys: bool = False
    #: Fields of the key sets that it stores from all processes (``Units.of_all``); gathered in one call.
    #: Besides these ``remember`` gets ``vectors``, ``pooled``, ``embeddings`` and ``valid``, no other fields.
    sends: Sequence[str] = ()

    @property
    def watched_queue(self) -> Queue | None:
        """The queue whose age is logged: its ``queue``, if it has one."""
        queue = getattr(self, 'queue', None)
        return queue if isinstance(queue, Queue) else None

    def score(self, comparison: Comparison) -> tuple[Tensor, dict[str, Tensor]]:
        """The scalar loss of one pair of views, and name -> scalar diagnostics without gradient.

        All processes must log the same names, at every step; no name may hold 'loss'.
        """
        raise NotImplementedError

    def remember(self, keys: list[Units], batch: Batch) -> None:
        """Store what is kept of a step's key sets; called once a step, without gradient, in training only."""


def checked_score(objective: Objective, comparison: Comparison) -> tuple[Tensor, dict[str, Tensor]]:
    """What ``score`` of an objective returns.

    Raises:
        TypeError: it is no scalar tensor and a dict of tensors.
    """
    found, name = objective.score(comparison), f'{type(objective).__name__}.score'
    if not (isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], dict)):
        got = type(found).__name__
        raise TypeError(f'{name} must return the loss and a dict of values for the log, got {got}')
    if not (isinstance(found[0], Tensor) and found[0].ndim == 0):
        got = tuple(found[0].shape) if isinstance(found[0], Tensor) else type(found[0]).__name__
        raise TypeError(
            f'{name} must return a scalar tensor as its loss, got {got}; mean_of takes means of units'
        )
    if odd := [what for what, value in found[1].items() if not isinstance(value, Tensor)]:
        raise TypeError(f'{name}: the value {odd[0]!r} for the log must be a tensor')
    return found


@MODELS.register_module()
class Sum(Objective):
    """Weighted sum of objectives, which all get the same units.

    Example: CLOP is ``objectives=[dict(type='InfoNCE', ...), dict(type='PrototypeAlignment', ...)]``.
    ``weights`` is one factor an objective, by default 1; another number of weights is a ValueError.
    """

    def __init__(self, objectives: Sequence[dict], weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.weights = [1.0] * len(objectives) if weights is None else list(weights)
        if not objectives or len(self.weights) != len(objectives):
            raise ValueError(
                f'Sum needs one weight an objective, got {len(self.weights)} weights for '
                f'{len(objectives)} objectives'
            )
        self.objectives = nn.ModuleList(MODELS.build(cfg) for cfg in objectives)
        self.needs = frozenset().union(*(part.needs for part in self.objectives))
        self.across = any(part.across for part in self.objectives)
        self.weighs = all(part.weighs for part in self.objectives)
        self.needs_keys = any(part.needs_keys for part in self.objectives)
        self.assigns = any(part.assigns for part in self.objectives)

    @property
    def watched_queue(self) -> Queue | None:
        """The first queue among the parts."""
        queues = (part.watched_queue for part in self.objectives)
        return next((queue for queue in queues if queue is not None), None)

    @property
    def sends(self) -> list[str]:
        """The fields that any of the parts sends."""
        return list(dict.fromkeys(name for part in self.objectives for name in part.sends))

    def score(self, comparison):
        """The sum, and the diagnostics of the parts. If two parts use the same name, the first one is kept.

        The value of each part, without its weight, is logged with its class name.
        """
        total, diagnostics = 0.0, {}
        for part, weight in zip(self.objectives, self.weights, strict=True):
            value, found = checked_score(part, comparison)
            total = total + weight * value
            name = type(part).__name__.replace('loss', 'Loss')  # what holds 'loss' is minimised
            diagnostics = {name: value.detach(), **found, **diagnostics}
        return total, diagnostics

    def remember(self, keys, batch):
        for part in self.objectives:
            part.remember(keys, batch)


#: The ways to take a mean, see :func:`mean_of`.
MEANS = ('rows', 'counted', 'images')


def mean_of(terms: Tensor, counted: Tensor | None, how: str, weight: Tensor | None = None) -> Tensor:
    """The mean of the units' loss terms; exact over several processes if their batches have equal size.

    Exact means: the mean of the processes' results, and of their gradients, equals that of one process with
    all images. It does not matter how the counted units are spread over the processes.

    Args:
        terms: (B, N), N units of each of B images.
        counted: (B, N) bool, the units that count; None: all. The terms of the others may have any value.
        how: ``'rows'``: mean over all units of this process; units that do not count add 0.
            ``'counted'``: mean over the counted units of all processes, 0 if there are none.
            ``'images'``: mean over the counted units of each image, then over images; an image without such
            units adds 0.
            ``'weights'``: as ``'counted'``, but divided by the sum of ``weight``.
        weight: (B, N), the factors by which the terms were multiplied; None: 1.
    """
    if counted is None:
        counted = torch.ones_like(terms, dtype=torch.bool)
    terms = torch.where(counted, terms, 0.0)
    if how == 'rows':
        return terms.mean()
    if how == 'images':
        return (terms.sum(1) / counted.sum(1).clamp(min=1)).mean()
    shares = counted.to(terms.dtype)
    if how == 'weights' and weight is not None:
        shares = shares * weight.to(terms.dtype)
    total = all_reduce(shares.sum())
    return terms.sum() * world_size() / torch.where(total > 0, total, 1.0)


def own_mean(values: Tensor, counted: Tensor | None) -> Tensor:
    """Mean of this process's counted values (None: all), for the log; 0 if there are none."""
    if counted is None:
        return values.mean()
    return torch.where(counted, values, 0.0).sum() / counted.sum().clamp(min=1)
