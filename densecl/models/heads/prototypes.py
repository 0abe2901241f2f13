"""Scores of prototypes as the units, over any number of crops."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from densecl.registry import MODELS
from densecl.schedule import Clock

from .base import PretrainHead, project
from .image import pool


@dataclass
class Assigned:
    """A crop before and after the prototypes: (B, C) unit embeddings and their (B, K) scores."""

    embeddings: Tensor
    scores: Tensor

    def detach(self) -> 'Assigned':
        """The same without gradient."""
        return Assigned(self.embeddings.detach(), self.scores.detach())


@MODELS.register_module()
class PrototypeHead(PretrainHead):
    """Every crop of an image is to tell how the first ones are assigned to prototypes.

    SwAV with a shared pair and :class:`~densecl.models.losses.SwappedPrediction`, DINO with a momentum
    pair and :class:`~densecl.models.losses.SelfDistillation`. All crops pass the projector
    together where the pretrainer has ``join_views=True``: its batch statistics then mix the
    crops' sizes, as in both official codes.

    Args:
        projector: module config of a :class:`~densecl.models.necks.PrototypeProjector`.
        objective: module config; called as ``objective(students, teachers, embeddings, prototypes)``.
        assign: the first so many views are the assigning ones (the teacher's); all views predict.
        freeze: the prototypes stay as they are for so many epochs or steps from the start.
        freeze_unit: ``'epoch'`` or ``'step'``.
        level: see :class:`PretrainHead`.
        loss_weight: see :class:`PretrainHead`.
        warmup_steps: see :class:`PretrainHead`.

    Raises:
        ValueError: no assigning view, or an unknown unit.
    """

    def __init__(
        self,
        projector: dict,
        objective: dict,
        assign: int = 2,
        freeze: float = 0,
        freeze_unit: str = 'epoch',
        level: int = -1,
        loss_weight: float = 1.0,
        warmup_steps: int = 0,
    ) -> None:
        super().__init__(
            projector, objective, level=level, loss_weight=loss_weight, warmup_steps=warmup_steps
        )
        if assign < 1:
            raise ValueError(f'PrototypeHead: assign must be at least 1, got {assign}')
        if freeze_unit not in ('epoch', 'step'):
            raise ValueError(
                f"PrototypeHead: freeze_unit must be 'epoch' or 'step', got {freeze_unit!r}"
            )
        self.assign = assign
        self.freeze = freeze
        self.freeze_unit = freeze_unit
        self.clock: Clock | None = None

    def needed(self, count: int) -> dict[str, set[int]]:
        """All views online, the assigning ones of the target; see :meth:`PretrainHead.needed`."""
        if count < max(self.assign, 2):
            raise ValueError(
                f'PrototypeHead: assign={self.assign} needs at least {max(self.assign, 2)} views, '
                f'the pipeline makes {count}; add views to its MultiView'
            )
        return {'online': set(range(count)), 'target': set(range(self.assign))}

    def frozen_parameters(self) -> Sequence[nn.Parameter]:
        """Those of the prototypes, at the start of the run."""
        clock = self.clock or Clock()
        if not self.freeze or clock.step >= clock.steps(
            self.freeze, self.freeze_unit, 'PrototypeHead.freeze'
        ):
            return ()
        return tuple(self.projector.prototypes.parameters())

    def loss(self, online, target, views, target_projector):
        """The objective over all crops; see :meth:`PretrainHead.loss`."""
        needed = {side: sorted(wanted) for side, wanted in self.needed(len(views)).items()}
        if self.training:
            self.projector.prototypes.normalize_()
        students = self.units(online, self.projector, views, needed['online'])
        if target is online:
            teachers = {v: students[v].detach() for v in needed['target']}
        else:
            with torch.no_grad():
                teachers = self.units(target, target_projector, views, needed['target'])
        self.embeddings = torch.cat([students[v].embeddings.detach() for v in needed['target']])
        loss, diagnostics = self.objective(
            [unit.scores for unit in students.values()],
            [unit.scores for unit in teachers.values()],
            [unit.embeddings for unit in teachers.values()],
            target_projector.prototypes,
        )
        return {'loss': loss, **diagnostics}

    def units(self, branch, projector, views, wanted):
        """View -> :class:`Assigned`; see :meth:`PretrainHead.units`."""
        pooled = {v: pool(branch[v][self.level]) for v in wanted}
        embeddings = project(projector.embed, pooled, branch.joint)
        scores = projector.prototypes(torch.cat(list(embeddings.values()))).chunk(len(embeddings))
        return {
            v: Assigned(embeddings[v], score) for v, score in zip(wanted, scores, strict=True)
        }
