"""What every pretraining head shares."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

from densecl.registry import MODELS
from densecl.structures import Views

if TYPE_CHECKING:
    from densecl.models.pretrainers import Branch


class PretrainHead(nn.Module):
    """Projector, objective and the pairs of views that are compared.

    A subclass says in :meth:`pair_loss` how one pair of views is scored.

    Args:
        projector: module config; of a momentum pair the target branch keeps its own moving average of it.
        objective: module config; called as ``objective(query, positive, new_keys)``.
        level: which level of the backbone (or neck) the head reads.
        pairs: (query view, key view) indices; the loss is the mean over them.
        loss_weight: factor of this head's loss in the sum.
        warmup_steps: the head counts with weight 0 for so many optimiser steps.
    """

    def __init__(
        self,
        projector: dict,
        objective: dict,
        level: int = -1,
        pairs: Sequence[tuple[int, int]] = ((0, 1),),
        loss_weight: float = 1.0,
        warmup_steps: int = 0,
    ) -> None:
        super().__init__()
        self.projector = MODELS.build(projector)
        self.objective = MODELS.build(objective)
        self.level = level
        self.pairs = tuple((int(q), int(k)) for q, k in pairs)
        self.loss_weight = loss_weight
        self.warmup_steps = warmup_steps
        #: (N, C) query vectors of the last forward pass, without gradient; collapse is measured on them.
        self.embeddings: Tensor | None = None

    def weight(self, step: int) -> float:
        """The factor of this head's loss after ``step`` optimiser steps."""
        return 0.0 if step < self.warmup_steps else self.loss_weight

    def loss(
        self, online: 'Branch', target: 'Branch', views: Views, target_projector: nn.Module
    ) -> dict[str, Tensor]:
        """Mean over the pairs.

        Args:
            online: encoded views, ``online[v]`` being a tuple of (B, C, H, W) levels.
            target: the same views as the other branch sees them.
            views: geometry of the views.
            target_projector: what projects the target's features.

        Returns:
            ``loss``, a scalar, and diagnostics without gradient.
        """
        needed = max(max(pair) for pair in self.pairs) + 1
        if len(views) < needed:
            raise ValueError(
                f'{type(self).__name__}: pairs {self.pairs} need {needed} views, the pipeline makes '
                f'{len(views)}; add views to its MultiView or change pairs'
            )
        results = [
            self.pair_loss(online, target, views, target_projector, q, k) for q, k in self.pairs
        ]
        return {key: sum(r[key] for r in results) / len(results) for key in results[0]}

    def pair_loss(
        self,
        online: 'Branch',
        target: 'Branch',
        views: Views,
        target_projector: nn.Module,
        query: int,
        key: int,
    ) -> dict[str, Tensor]:
        """Score view ``query`` of the online branch against view ``key`` of the target."""
        raise NotImplementedError
