"""Whole images and sets of their patches as the units, on one or more levels."""

import torch
from torch import Tensor, nn

from densecl.registry import MODELS

from .base import UnitProducer, record_of


@MODELS.register_module()
class Patches(UnitProducer):
    """An image, and its jigsaw patches taken together (PIRL, Misra and van der Maaten, 2020; DetCo, Xie et
    al., 2021).

    Two kinds a level: ``'global'``, the pooled map of the image, and ``'local'``, the pooled maps of its
    patches, concatenated. With named levels they are ``'global_c5'``, ``'local_c5'``. The projector is a
    :class:`~densecl.models.necks.LevelProjectors` (DetCo) or
    :class:`~densecl.models.necks.ImagePatchProjectors` (PIRL).

    Views come in this order: the images first, ``images`` of them, then the patches of each image. The set
    ``('local', 1)`` is the patches of view 1. ``join_views=True`` of the pretrainer encodes all patches in
    one pass.

    Args:
        images: number of views that are whole images: 2 in DetCo, 1 in PIRL.
        patches: patches of an image, 9 in both.
        levels: name -> level of the backbone (or neck); by default the last one, without a name.
        order: in which patches are concatenated. ``'drawn'``: as they come, in the random order of the views,
            so that the order itself cannot be learned; ``'image'``: as they lie in the image, so that each
            place has weights of its own.
    """

    gives = frozenset({'features', 'pooled', 'always', 'single'})

    def __init__(
        self, images: int = 2, patches: int = 9, levels: dict[str, int] | None = None, order: str = 'drawn'
    ) -> None:
        super().__init__()
        if order not in ('drawn', 'image'):
            raise ValueError(f"Patches: order must be one of ('drawn', 'image'), got {order!r}")
        self.images, self.patches, self.order = images, patches, order
        self.levels = {'': self.level} if levels is None else dict(levels)
        self.kinds = tuple(f'{part}_{n}' if n else part for part in ('global', 'local') for n in self.levels)

    def views_of(self, chosen):
        """The image, or its patches."""
        kind, image = chosen
        if image >= self.images:
            raise ValueError(
                f'Patches: the images are views 0 to {self.images - 1}, got {chosen}; set units.images'
            )
        first = self.images + image * self.patches
        return [image] if kind.startswith('global') else list(range(first, first + self.patches))

    def inputs(self, branch, views, source):
        """(B, C), or (B, P, C)."""
        part, _, name = source[0].partition('_')
        numbers = self.views_of(source)
        pooled = [branch[v].pooled(self.levels[name]) for v in numbers]
        if part == 'global':
            return pooled[0]
        stacked = torch.stack(pooled, 1)
        if self.order == 'drawn':
            return stacked
        back = in_reading_order(torch.stack([views.boxes[v] for v in numbers], 1))
        return stacked.gather(1, back[..., None].expand_as(stacked))

    def project(self, projector, inputs, joint):
        """Each set by the projector of its kind, one at a time."""
        done = {}
        for source, x in inputs.items():
            part, _, name = source[0].partition('_')
            done[source] = (projector[part][name] if name else projector[part])(x)
        return done

    def record(self, chosen, inputs, projections, predictions, views):
        features = inputs.detach().flatten(1)[:, None]
        return record_of(projections, predictions, lambda x: x[:, None], features=features)


@MODELS.register_module()
class PatchSet(UnitProducer):
    """Several views as one unit: the tiles of a puzzle (Noroozi and Favaro, ECCV 2016), or the two patches of
    a pair (Doersch et al., ICCV 2015).

    Set s is views s * ``patches`` and those that follow, pooled and stacked, (B, P, C) for a
    :class:`~densecl.models.necks.PatchProjector`; with ``join_views=True`` of the pretrainer all are encoded
    in one pass. Of a target, whose values no one projects, the last of the views speaks for all.

    Args:
        patches: P, how many views make a unit.
        level: of the backbone (or neck).
    """

    gives = frozenset({'features', 'pooled', 'always', 'single'})

    def __init__(self, patches: int, level: int = -1) -> None:
        super().__init__(level)
        self.patches = patches

    def views_of(self, chosen):
        first = chosen * self.patches
        return list(range(first, first + self.patches))

    def inputs(self, branch, views, source):
        """(B, P, C)."""
        return torch.stack([branch[v].pooled(self.level) for v in self.views_of(source)], 1)

    def project(self, projector, inputs, joint):
        if isinstance(projector, nn.Identity):
            return {source: x[:, -1] for source, x in inputs.items()}
        return super().project(projector, inputs, joint)

    def record(self, chosen, inputs, projections, predictions, views):
        features = inputs.detach().flatten(1)[:, None]
        return record_of(projections, predictions, lambda x: x[:, None], features=features)


def in_reading_order(boxes: Tensor) -> Tensor:
    """How the patches of a square grid are put back: (B, P, 4) boxes -> (B, P) indices, row by row.

    Boxes are x1, y1, x2, y2; those of one row of the grid must lie above all those of the next.
    """
    side = round(boxes.shape[1] ** 0.5)
    centre = boxes[..., :2] + boxes[..., 2:]
    rows = centre[..., 1].argsort(1).unflatten(1, (side, side))  # (B, side, side), by height
    x = centre[..., 0].gather(1, rows.flatten(1)).view_as(rows)
    return rows.gather(2, x.argsort(2)).flatten(1)
