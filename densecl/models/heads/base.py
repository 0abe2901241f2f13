"""What every pretraining head shares."""

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from densecl.registry import MODELS
from densecl.structures import Views

if TYPE_CHECKING:
    from densecl.models.pretrainers import Branch


def project(projector: nn.Module, inputs: dict[int, Tensor], joint: bool) -> dict[int, Tensor]:
    """Project what belongs to each view.

    Args:
        projector: maps (B, C, ...) to (B, D, ...).
        inputs: view -> (B, C, ...).
        joint: put inputs of one shape through the projector in one batch, with common batch statistics.
    """
    if not joint:
        return {view: projector(x) for view, x in inputs.items()}
    by_shape: dict[torch.Size, list[int]] = {}
    for view, x in inputs.items():
        by_shape.setdefault(x.shape, []).append(view)
    outputs = {}
    for group in by_shape.values():
        parts = projector(torch.cat([inputs[v] for v in group])).chunk(len(group))
        outputs.update(zip(group, parts, strict=True))
    return {view: outputs[view] for view in inputs}


def scores_sets(objective: nn.Module) -> bool:
    """Whether an objective takes sets, (B, K, D) with (B, K, K) positives, and not rows."""
    return 'positives' in inspect.signature(objective.forward).parameters


class PretrainHead(nn.Module):
    """Projector, optional predictor, objective and the pairs of views that are compared.

    A subclass says what the units of a view are (:meth:`units`) and how a pair of views is scored
    (:meth:`pair_loss`).

    Args:
        projector: module config; of a momentum pair the target branch keeps its own moving average of it.
        objective: module config; called as ``objective(query, positive, new_keys, samples)``.
        predictor: module config of what maps a query's projection to the prediction of its key (BYOL,
            SimSiam, MoCo v3); None compares the projections themselves.
        level: which level of the backbone (or neck) the head reads.
        pairs: (query view, key view) indices; the loss is the mean over them. Both directions,
            ``((0, 1), (1, 0))``, make a symmetric loss.
        stop_gradient: no gradient reaches the keys (SimSiam); those of a momentum target never get any.
        loss_weight: factor of this head's loss in the sum.
        warmup_steps: the head counts with weight 0 for so many optimiser steps.
    """

    def __init__(
        self,
        projector: dict,
        objective: dict,
        predictor: dict | None = None,
        level: int = -1,
        pairs: Sequence[tuple[int, int]] = ((0, 1),),
        stop_gradient: bool = False,
        loss_weight: float = 1.0,
        warmup_steps: int = 0,
    ) -> None:
        super().__init__()
        self.projector = MODELS.build(projector)
        self.predictor = None if predictor is None else MODELS.build(predictor)
        self.objective = MODELS.build(objective)
        self.level = level
        self.pairs = tuple((int(q), int(k)) for q, k in pairs)
        self.stop_gradient = stop_gradient
        self.loss_weight = loss_weight
        self.warmup_steps = warmup_steps
        #: (N, C) projections of the last forward pass, without gradient; collapse is measured on them.
        self.embeddings: Tensor | None = None

    def weight(self, step: int) -> float:
        """The factor of this head's loss after ``step`` optimiser steps."""
        return 0.0 if step < self.warmup_steps else self.loss_weight

    def needed(self, count: int) -> dict[str, set[int]]:
        """Views that the head reads of the ``'online'`` and of the ``'target'`` branch, out of ``count``."""
        needed = max(max(pair) for pair in self.pairs) + 1
        if count < needed:
            raise ValueError(
                f'{type(self).__name__}: pairs {self.pairs} need {needed} views, the pipeline makes '
                f'{count}; add views to its MultiView or change pairs'
            )
        return {'online': {q for q, _ in self.pairs}, 'target': {k for _, k in self.pairs}}

    def frozen_parameters(self) -> Sequence[nn.Parameter]:
        """Parameters that the coming optimiser step must leave alone."""
        return ()

    def loss(
        self, online: 'Branch', target: 'Branch', views: Views, target_projector: nn.Module
    ) -> dict[str, Tensor]:
        """Mean over the pairs.

        Args:
            online: encoded views, ``online[v]`` being a tuple of (B, C, H, W) levels.
            target: the same views as the other branch sees them; the same object where both share weights.
            views: geometry of the views.
            target_projector: what projects the target's features.

        Returns:
            ``loss``, a scalar, and diagnostics without gradient.
        """
        needed = self.needed(len(views))
        if target is online:
            both = sorted(needed['online'] | needed['target'])
            queries = keys = self.units(online, self.projector, views, both)
        else:
            queries = self.units(online, self.projector, views, sorted(needed['online']))
            with torch.no_grad():
                keys = self.units(target, target_projector, views, sorted(needed['target']))
        results = [self.pair_loss(queries[q], keys[k], views) for q, k in self.pairs]
        return {key: sum(r[key] for r in results) / len(results) for key in results[0]}

    def units(
        self, branch: 'Branch', projector: nn.Module, views: Views, wanted: Sequence[int]
    ) -> dict[int, Any]:
        """What is compared, projected: view -> units, for the ``wanted`` views."""
        raise NotImplementedError

    def pair_loss(self, query: Any, key: Any, views: Views) -> dict[str, Tensor]:
        """Score the units of one view against those of another."""
        raise NotImplementedError

    def predict(self, projections: Tensor) -> Tensor:
        """The prediction of the key; the projection itself where there is no predictor."""
        return projections if self.predictor is None else self.predictor(projections)

    def key_of(self, projections: Tensor) -> Tensor:
        """A key's projection, cut off from its gradient where the head says so."""
        return projections.detach() if self.stop_gradient else projections
