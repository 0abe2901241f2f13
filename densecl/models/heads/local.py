"""Pairs of cells as the units, found from both views' sides."""

from collections.abc import Sequence

from torch import Tensor, nn

from densecl.models.matching import ViewMaps
from densecl.registry import MODELS

from .base import PretrainHead
from .dense import DenseHead, cells


def take(view: ViewMaps, chosen: Tensor) -> Tensor:
    """The projections of (B, G) cells, (B, G, D)."""
    rows = cells(view.projections)
    return rows.gather(1, chosen[..., None].expand(-1, -1, rows.shape[-1]))


@MODELS.register_module()
class LocalHead(DenseHead):
    """The local criterion of VICRegL (Bardes et al., 2022).

    Each rule names pairs of cells, once from the first view's side and once from the second's; the objective
    scores the pairs of a rule and side as one set. Loss: sum over the rules, mean over both sides.

    Args:
        matching: configs of rules with ``pairs(query, key)``: :class:`NearestFeature`,
            :class:`NearestLocation`.
        grid: see :class:`DenseHead`.
        **kwargs: see :class:`PretrainHead`; the projector maps (B, C, H, W) to (B, D, H, W), the objective is
            called as ``objective(first (B, G, D), second (B, G, D))``. ``pairs=((0, 1),)`` covers both sides
            already.
    """

    def __init__(self, *, matching: Sequence[dict], grid: int | None = None, **kwargs) -> None:
        PretrainHead.__init__(self, **kwargs)  # several rules where DenseHead builds one
        if isinstance(matching, dict) or not matching:
            raise ValueError(f'LocalHead: matching must be a list of one or more rules, got {matching!r}')
        self.matching = nn.ModuleList(MODELS.build(rule) for rule in matching)
        self.grid = grid

    def pair_loss(self, query, key, views):
        """All rules from both sides; diagnostics are means over them. See :meth:`PretrainHead.pair_loss`."""
        self.embeddings = cells(query.projections).detach().flatten(0, 1)
        results = []
        for rule in self.matching:
            for first, second in ((query, key), (key, query)):
                chosen, matched = rule.pairs(first, second)
                results.append(self.objective(take(first, chosen), take(second, matched)))
        diagnostics = {
            name: sum(found[name] for _, found in results) / len(results) for name in results[0][1]
        }
        return {'loss': sum(loss for loss, _ in results) / 2, **diagnostics}
