"""The views of a batch as one encoder sees them."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from densecl.structures import TokenMask, Views

from .levels import Levels


class Branch:
    """The views of a batch, encoded by one encoder. Each view is encoded once, when it is first read.

    Args:
        encode: maps images (B, 3, H, W) to a tuple of (B, C, H, W) levels, or to :class:`.Levels`. If
            ``masked``, it also gets the mask of a view that has one.
        views: the batch.
        together: views that will be read and may share a pass. Views of one size are encoded (and projected
            by the heads) as one batch, with common batch statistics. Other views have their own pass.
        gradient: whether encoded views have a gradient, if gradients are enabled at all. It does not depend
            on who reads a view first.
        masked: whether masks and corruptions are applied to the views.
    """

    def __init__(
        self,
        encode: Callable[..., Sequence[Tensor]],
        views: Views,
        together: Iterable[int] = (),
        gradient: bool = True,
        masked: bool = False,
    ) -> None:
        self._encode, self._views = encode, views
        self._together = sorted(set(together))
        #: Whether views may share a pass.
        self.joint = bool(self._together)
        self._levels: dict[int, Levels] = {}
        self.gradient = gradient and torch.is_grad_enabled()
        replaced = [views.replaced(v) if masked else None for v in range(len(views))]
        pairs = list(zip(views.images, replaced, strict=True))
        self._images = [whole if changed is None else changed for whole, changed in pairs]
        hides = [masked and changed is None for changed in replaced]
        self._masks = [views.mask(v) if hiding else None for v, hiding in enumerate(hides)]

    def without_gradient(self) -> 'Branch':
        """A new branch with the same views and encoder: one pass a view, no gradient, no mask."""
        return Branch(self._encode, self._views, gradient=False)

    def __getitem__(self, view: int) -> Levels:
        if view not in self._levels:
            group = [v for v in self._together if self._alike(v, view)]
            group = group if view in group else [view]
            images, masks = [self._images[v] for v in group], [self._masks[v] for v in group]
            with torch.set_grad_enabled(self.gradient):
                given = () if masks[0] is None else (TokenMask.joined(masks),)
                levels = self._encode(images[0] if len(group) == 1 else torch.cat(images), *given)
                levels = levels if isinstance(levels, Levels) else Levels(levels)
                self._levels.update(zip(group, levels.parts(len(group)), strict=True))
        return self._levels[view]

    def _alike(self, first: int, second: int) -> bool:
        """Whether two views can share a batch: they have one size, and both have a mask or neither has."""
        images, masks = self._images, self._masks
        alike = images[first].shape == images[second].shape
        return alike and (masks[first] is None) == (masks[second] is None)
