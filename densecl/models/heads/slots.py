"""Learned groups of cells as the units."""

from dataclasses import dataclass

import torch
from torch import Tensor

from densecl.models.losses import Slots
from densecl.models.matching import overlap_boxes, sample_overlap
from densecl.registry import MODELS

from .base import PretrainHead, project
from .dense import cells


@dataclass
class Grouped:
    """A view's cells and the slots that won them.

    Attributes:
        maps: (B, C, H, W), projected cells.
        vectors: (B, K, C), the mean of each slot's cells.
        scores: (B, K, H, W), cosines of slots and cells.
        boxes: (B, 4), the crops in pixels of the original images.
        flipped: (B,) bool.
    """

    maps: Tensor
    vectors: Tensor
    scores: Tensor
    boxes: Tensor
    flipped: Tensor

    def seen_with(self, other: 'Grouped') -> Slots:
        """These slots, their scores also read over the part of the image that ``other`` shows."""
        size = tuple(self.scores.shape[2:])
        aligned = sample_overlap(self.scores, self.boxes, self.flipped, other.boxes, size)
        return Slots.of(self.vectors, self.scores, aligned)


@MODELS.register_module()
class SlotHead(PretrainHead):
    """The same place has the same slot in both views, and a slot looks alike in both (SlotCon, Wen et al.,
    2022).

    Assignments are compared on a grid over the overlap of the two views, un-flipped; a slot takes part
    in the contrast where it wins a cell in both whole views, as in the official code. Images without overlap
    are left out and counted: ``MultiView(min_overlap=0.01)`` makes them rare. No gradient reaches the keys.

    Args:
        projector: module config of a :class:`~densecl.models.necks.SlotProjector`.
        objective: module config of a :class:`~densecl.models.losses.SlotContrast`.
        predictor: module config of what maps slots (N, C) to the target's; None compares them themselves.
        pairs: see :class:`PretrainHead`; both directions by default.
        **kwargs: see :class:`PretrainHead`. The official code sums the two directions, a head takes their
            mean: ``loss_weight=2``.
    """

    def __init__(self, *, pairs=((0, 1), (1, 0)), **kwargs) -> None:
        super().__init__(pairs=pairs, **kwargs)

    def loss(self, online, target, views, target_projector):
        """Mean over the pairs; then the centre moves. See :meth:`PretrainHead.loss`."""
        needed = {side: sorted(wanted) for side, wanted in self.needed(len(views)).items()}
        queries = self.units(online, self.projector, views, needed['online'])
        with torch.no_grad():
            keys = self.units(target, target_projector, views, needed['target'])
        self.embeddings = torch.cat([cells(q.maps).detach().flatten(0, 1) for q in queries.values()])
        results = [self.pair_loss(queries[q], keys[k], views) for q, k in self.pairs]
        if self.training:
            self.objective.move_center([key.scores for key in keys.values()])
        return {key: sum(r[key] for r in results) / len(results) for key in results[0]}

    def units(self, branch, projector, views, wanted):
        """View -> :class:`Grouped`; see :meth:`PretrainHead.units`."""
        levels = {v: branch[v][self.level] for v in wanted}
        maps = project(projector, levels, branch.joint)
        return {
            v: Grouped(maps[v], *projector.group(maps[v]), views.boxes[v], views.flipped[v])
            for v in wanted
        }

    def pair_loss(self, query, key, views):
        """The objective on one direction; see :meth:`PretrainHead.pair_loss`."""
        _, overlapping = overlap_boxes(query.boxes, key.boxes)
        loss, diagnostics = self.objective(
            query.seen_with(key), key.seen_with(query), overlapping, self.predict
        )
        return {'loss': loss, **diagnostics}
