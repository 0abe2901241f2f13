"""Whole images and sets of their patches as units, on one or more levels."""

import torch
from torch import Tensor, nn

from densecl.messages import check_choice
from densecl.registry import MODELS

from .base import UnitProducer, record_of


@MODELS.register_module()
class Patches(UnitProducer):
    """An image as one unit, and all its jigsaw patches as one unit (PIRL, Misra and van der Maaten, 2020;
    DetCo, Xie et al., 2021).

    Each level has two kinds: ``'global'`` is the pooled map of the image; ``'local'`` is the pooled maps of
    its patches, concatenated. With named levels they are ``'global_c5'``, ``'local_c5'``. The projector is a
    :class:`~densecl.models.necks.LevelProjectors` (DetCo) or
    :class:`~densecl.models.necks.ImagePatchProjectors` (PIRL).

    The order of the views is: first ``images`` whole images, then the patches of each image. The set
    ``('local', 1)`` is the patches of view 1. With ``join_views=True`` the pretrainer encodes all patches in
    one pass.

    Args:
        images: number of views that are whole images: 2 in DetCo, 1 in PIRL.
        patches: number of patches of an image, 9 in both.
        levels: name -> level of the backbone (or neck); by default the last level, without a name.
        order: the order in which patches are concatenated. ``'drawn'``: the random order of the views, so
            that the order itself cannot be learned. ``'image'``: their order in the image, so that each place
            has its own weights.
    """

    gives = frozenset({'features', 'pooled', 'always', 'single'})

    def __init__(
        self, images: int = 2, patches: int = 9, levels: dict[str, int] | None = None, order: str = 'drawn'
    ) -> None:
        super().__init__()
        check_choice('Patches: order', order, ('drawn', 'image'))
        self.images, self.patches, self.order = images, patches, order
        self.levels = {'': self.level} if levels is None else dict(levels)
        self.kinds = tuple(f'{part}_{n}' if n else part for part in ('global', 'local') for n in self.levels)

    def views_of(self, chosen):
        """The view of the image, or those of its patches."""
        kind, image = chosen
        if image >= self.images:
            raise ValueError(
                f'Patches: the images are views 0 to {self.images - 1}, got {chosen}; set units.images'
            )
        first = self.images + image * self.patches
        return [image] if kind.startswith('global') else list(range(first, first + self.patches))

    def inputs(self, branch, views, source):
        """Pooled features: (B, C) of the image, or (B, P, C) of its P patches."""
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
        """Project each set by itself, with the projector of its kind."""
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

    Set s is P views, from view s * P on. Their pooled features are stacked to (B, P, C), the input of a
    :class:`~densecl.models.necks.PatchProjector`. With ``join_views=True`` the pretrainer encodes all views
    in one pass. The output of a head's own target is not projected: there the last of the P views is used.

    Args:
        patches: P, the number of views of a unit.
        level: which level of the backbone (or neck) is read.
    """

    gives = frozenset({'features', 'pooled', 'always', 'single'})

    def __init__(self, patches: int, level: int = -1) -> None:
        super().__init__(level)
        self.patches = patches

    def views_of(self, chosen):
        first = chosen * self.patches
        return list(range(first, first + self.patches))

    def inputs(self, branch, views, source):
        """Pooled features of the P views, (B, P, C)."""
        return torch.stack([branch[v].pooled(self.level) for v in self.views_of(source)], 1)

    def project(self, projector, inputs, joint):
        if isinstance(projector, nn.Identity):
            return {source: x[:, -1] for source, x in inputs.items()}
        return super().project(projector, inputs, joint)

    def record(self, chosen, inputs, projections, predictions, views):
        features = inputs.detach().flatten(1)[:, None]
        return record_of(projections, predictions, lambda x: x[:, None], features=features)


def in_reading_order(boxes: Tensor) -> Tensor:
    """The order of patches in a square grid, row by row: (B, P, 4) boxes -> (B, P) indices.

    Boxes are x1, y1, x2, y2. All boxes of a row must lie above those of the next row.
    """
    side = round(boxes.shape[1] ** 0.5)
    centre = boxes[..., :2] + boxes[..., 2:]
    rows = centre[..., 1].argsort(1).unflatten(1, (side, side))  # (B, side, side), by height
    x = centre[..., 0].gather(1, rows.flatten(1)).view_as(rows)
    return rows.gather(2, x.argsort(2)).flatten(1)
