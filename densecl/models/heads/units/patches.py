"""Whole images and sets of their patches as the units, on one or more levels."""

from collections.abc import Sequence

import torch

from densecl.models.necks.patches import in_reading_order
from densecl.registry import MODELS
from densecl.structures import Units

from .base import UnitProducer, pool

ORDERS = ('drawn', 'image')


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

    gives = frozenset({'features', 'pooled', 'always'})

    def __init__(
        self, images: int = 2, patches: int = 9, levels: dict[str, int] | None = None, order: str = 'drawn'
    ) -> None:
        super().__init__()
        if order not in ORDERS:
            raise ValueError(f'Patches: order must be one of {ORDERS}, got {order!r}')
        self.images, self.patches, self.order = images, patches, order
        self.levels = {'': self.level} if levels is None else dict(levels)

    @property
    def kinds(self):
        """``'global'`` and ``'local'``, with the name of the level behind them."""
        return tuple(f'{part}_{n}' if n else part for part in ('global', 'local') for n in self.levels)

    def views_of(self, chosen):
        """The image, or its patches."""
        (part, _), image = self._parts(chosen), chosen[1]
        if image >= self.images:
            raise ValueError(
                f'Patches: the images are views 0 to {self.images - 1}, got {chosen}; set units.images'
            )
        first = self.images + image * self.patches
        return [image] if part == 'global' else list(range(first, first + self.patches))

    def _parts(self, chosen) -> Sequence[str]:
        part, _, name = chosen[0].partition('_')
        return part, name

    def inputs(self, branch, views, source):
        """(B, C), or (B, P, C)."""
        part, name = self._parts(source)
        numbers = self.views_of(source)
        pooled = [pool(branch[v][self.levels[name]]) for v in numbers]
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
            part, name = self._parts(source)
            done[source] = (projector[part][name] if name else projector[part])(x)
        return done

    def record(self, chosen, inputs, projections, predictions, views):
        """One row an image."""
        features = inputs.detach().flatten(1)
        predicted = None if predictions is None else predictions[:, None]
        return Units(projections[:, None], predicted, projections, predictions, features=features[:, None])
