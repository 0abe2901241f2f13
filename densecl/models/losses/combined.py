"""Several objectives on the same units."""

from collections.abc import Sequence

from torch import Tensor, nn

from densecl.models.memory import Queue
from densecl.registry import MODELS
from densecl.structures import Batch, Comparison, Units

from .objective import Objective


@MODELS.register_module()
class Sum(Objective):
    """Weighted sum of objectives, each of which is given the same units.

    CLOP is ``objectives=[dict(type='InfoNCE', ...), dict(type='PrototypeAlignment', ...)]``.

    Args:
        objectives: module configs.
        weights: one factor each; 1 by default.

    Raises:
        ValueError: no objective, or another number of weights.
    """

    def __init__(self, objectives: Sequence[dict], weights: Sequence[float] | None = None) -> None:
        super().__init__()
        weights = [1.0] * len(objectives) if weights is None else list(weights)
        if not objectives or len(weights) != len(objectives):
            raise ValueError(
                f'Sum needs one weight an objective, got {len(weights)} weights for '
                f'{len(objectives)} objectives'
            )
        self.objectives = nn.ModuleList(MODELS.build(cfg) for cfg in objectives)
        self.weights = weights
        self.needs = frozenset().union(*(part.needs for part in self.objectives))
        self.across = any(part.across for part in self.objectives)
        self.needs_keys = any(part.needs_keys for part in self.objectives)

    @property
    def watched_queue(self) -> Queue | None:
        """The first queue among the parts: the one that is watched."""
        queues = (part.watched_queue for part in self.objectives)
        return next((queue for queue in queues if queue is not None), None)

    def score(self, comparison: Comparison) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum, and the parts' diagnostics; where two parts use one name, the first keeps it.

        Each part's own value, without its weight, is logged under its class name.
        """
        total, diagnostics = 0.0, {}
        for part, weight in zip(self.objectives, self.weights, strict=True):
            value, found = part.score(comparison)
            total = total + weight * value
            diagnostics = {type(part).__name__: value.detach(), **found, **diagnostics}
        return total, diagnostics

    def remember(self, keys: list[Units], batch: Batch) -> None:
        """Every part remembers, in their order."""
        for part in self.objectives:
            part.remember(keys, batch)
