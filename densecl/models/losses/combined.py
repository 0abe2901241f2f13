"""Several objectives on the same units."""

from collections.abc import Sequence

from torch import Tensor, nn

from densecl.models.memory import Queue
from densecl.registry import MODELS

from .samples import Samples


@MODELS.register_module()
class Sum(nn.Module):
    """Weighted sum of objectives, each of which is given the same units.

    CLOP is ``objectives=[dict(type='InfoNCE', ...), dict(type='PrototypeAlignment', ...)]``. Parts with
    memories learn from each batch in their order.

    Args:
        objectives: module configs.
        weights: one factor each; 1 by default.
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

    @property
    def queue(self) -> Queue | None:
        """The first queue among the parts: the one that is watched."""
        queues = (getattr(part, 'queue', None) for part in self.objectives)
        return next((queue for queue in queues if queue is not None), None)

    def forward(
        self,
        query: Tensor,
        positive: Tensor,
        new_keys: Tensor | None = None,
        samples: Samples | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum, and the parts' diagnostics; where two parts use one name, the first keeps it.

        Each part's own value, without its weight, is logged under its class name.
        """
        total, diagnostics = 0.0, {}
        for part, weight in zip(self.objectives, self.weights, strict=True):
            value, found = part(query, positive, new_keys, samples=samples)
            total = total + weight * value
            found = {type(part).__name__: value.detach(), **found}
            diagnostics = {**found, **diagnostics}
        return total, diagnostics
