"""Learned groups of cells as units."""

import torch

from densecl.models.necks.slots import active_slots
from densecl.registry import MODELS
from densecl.structures import Units

from .base import UnitProducer, cells, place_of, pool, view_of


@MODELS.register_module()
class Groups(UnitProducer):
    """Cells, and the slots that compete for them (SlotCon, Wen et al., 2022).

    There are two kinds of units. The vectors of ``'cells'`` are the scores of the K slots. The vectors of
    ``'slots'`` are the mean of each slot's cells; only slots that win a cell of the view are valid. The id of
    a slot is its number. At most H*W slots can win a cell, so the number of rows is fixed: min(H*W, K).

    Args:
        level: which level of the backbone (or neck) is read. The projector is a
            :class:`~densecl.models.necks.SlotProjector`; the predictor maps slots (N, C) to (N, C).
    """

    of_kind = {
        'cells': frozenset({'grid', 'place', 'scores', 'several', 'always'}),
        'slots': frozenset({'ids', 'pooled', 'several'}),
    }
    gives = of_kind['cells'] | of_kind['slots']

    kinds = tuple(of_kind)

    def gives_of(self, kind):
        return self.of_kind[kind] | {'equal count'}

    def source(self, chosen):
        """Both kinds of a view share the projection."""
        return view_of(chosen)

    def project(self, projector, inputs, joint):
        """View -> maps, slots, scores."""
        maps = super().project(projector, inputs, joint)
        return {view: (x, *projector.group(x)) for view, x in maps.items()}

    def predict(self, predictor, projections):
        """No prediction yet: see :meth:`predicts_late`."""

    def predicts_late(self, chosen):
        """True for slots: all K slots would put some 2,000 nearly equal vectors an image into batch norm."""
        return chosen[0] == 'slots'

    def record(self, chosen, inputs, projections, predictions, views):
        (kind, view), (maps, slots, scores) = chosen, projections
        if kind == 'cells':
            place = place_of(views, view, grid=tuple(maps.shape[2:]))
            return Units(cells(scores), pooled=pool(maps), place=place, embeddings=cells(maps))
        active = active_slots(scores)
        count = min(active.shape[1], maps[0, 0].numel())
        # Active slots come first; both parts are sorted by number.
        number = active.byte().argsort(dim=1, descending=True, stable=True)[:, :count]
        valid = active.gather(1, number)
        return Units(
            slots.gather(1, number[..., None].expand(-1, -1, slots.shape[2])),
            pooled=pool(maps),
            valid=valid,
            ids=torch.where(valid, number, -1),
            place=place_of(views, view),
            log={'occupancy': active.any(0).float().mean(), 'active': active.float().sum(1).mean()},
        )
