"""What every objective is: one argument, one return type; a sum of several; and what a mean is divided by."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from densecl.distributed import all_reduce, world_size
from densecl.models.memory import Queue
from densecl.registry import MODELS
from densecl.structures import Batch, Comparison, Units


class Objective(nn.Module):
    """Scores how well units match.

    A head scores every pair of views first; then, in training, the objective remembers the step's keys, once.
    """

    #: Properties that units must have (``UnitProducer.gives``), and what else is asked for: ``'one answer'``
    #: and ``'rows'`` (the units themselves) of the matching rule, ``'own'`` of the head.
    needs: ClassVar[frozenset[str]] = frozenset()
    #: Whether it meets candidates of other images, which a rule may name as answers (``Match.across``).
    across: ClassVar[bool] = False
    #: Whether it multiplies the terms of units by ``Match.weight``.
    weighs: ClassVar[bool] = False
    #: Whether it compares with a key at all.
    needs_keys: ClassVar[bool] = True
    #: Whether it compares shares of prototypes; it logs then how many ``groups`` these tell apart.
    assigns: ClassVar[bool] = False
    #: Whether it keeps or learns something of the keys beside its queues and its states per image.
    keeps_keys: bool = False
    #: Fields of the key sets that it remembers of all processes (``Units.of_all``); they travel together.
    sends: Sequence[str] = ()
    #: The queue whose age is logged, where there is one.
    watched_queue: Queue | None = None

    def score(self, comparison: Comparison) -> tuple[Tensor, dict[str, Tensor]]:
        """The scalar loss of one pair of views, and diagnostics without gradient."""
        raise NotImplementedError

    def remember(self, keys: list[Units], batch: Batch) -> None:
        """Take in the step's key sets, each once; called without gradient, in training only."""


@MODELS.register_module()
class Sum(Objective):
    """Weighted sum of objectives, each of which is given the same units.

    CLOP is ``objectives=[dict(type='InfoNCE', ...), dict(type='PrototypeAlignment', ...)]``. ``weights`` are
    one factor each, 1 by default; another number of them is a ValueError.
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
        """What any of the parts does."""
        return list(dict.fromkeys(name for part in self.objectives for name in part.sends))

    def score(self, comparison):
        """The sum, and the parts' diagnostics; where two parts use one name, the first keeps it.

        Each part's own value, without its weight, is logged under its class name.
        """
        total, diagnostics = 0.0, {}
        for part, weight in zip(self.objectives, self.weights, strict=True):
            value, found = part.score(comparison)
            total = total + weight * value
            diagnostics = {type(part).__name__: value.detach(), **found, **diagnostics}
        return total, diagnostics

    def remember(self, keys, batch):
        for part in self.objectives:
            part.remember(keys, batch)


#: How a mean may be taken, see :func:`mean_of`.
MEANS = ('rows', 'counted', 'images')


def check_mean(how: str, objective: str, allowed: tuple[str, ...] = MEANS) -> str:
    """``how``, or a ValueError where it is not allowed."""
    if how not in allowed:
        raise ValueError(f'{objective}: mean must be one of {", ".join(map(repr, allowed))}; got {how!r}')
    return how


def mean_of(terms: Tensor, counted: Tensor | None, how: str, weight: Tensor | None = None) -> Tensor:
    """The mean of what units say, each way exact over processes with equal batches.

    The mean of what the processes return, and of its gradients, is that of one process with all images,
    however unevenly the units that count are spread.

    Args:
        terms: (B, N), N units of each of B images.
        counted: (B, N) bool, the units that count; None: all. The terms of others may be anything.
        how: ``'rows'``: over all units of this process, where those that do not count add 0;
            ``'counted'``: over the units of all processes that count, 0 where there is none;
            ``'images'``: over the units of each image that count, then over images, of which one without such
            a unit adds 0;
            ``'weights'``: as ``'counted'``, but over the sum of ``weight``.
        weight: (B, N), by which the terms were multiplied; None: 1.
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
    count = all_reduce(shares.sum())
    return terms.sum() * world_size() / count.clamp(min=1)


def own_mean(values: Tensor, counted: Tensor | None) -> Tensor:
    """Mean of this process's values that count (None: all), for the log; 0 where none does."""
    if counted is None:
        return values.mean()
    return torch.where(counted, values, 0.0).sum() / counted.sum().clamp(min=1)
