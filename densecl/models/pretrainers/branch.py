"""The views of a batch as one encoder sees them."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from densecl.structures import TokenMask, Views

from .levels import Levels


class Branch:
    """The views of a batch as one encoder sees them: each is encoded when first asked for, and once.

    Args:
        encode: maps (B, 3, H, W) images to a tuple of (B, C, H, W) levels, or to :class:`.Levels`; of views
            that have a mask it gets that, too, where ``masked``.
        views: the batch.
        together: views that will be asked for and may share a pass: those of one size are encoded (and,
            by heads, projected) as one batch, with common batch statistics. Others go alone.
        gradient: whether what it encodes has a gradient (where gradients are on at all), whoever asks first.
        masked: whether it sees views as masks and corruptions leave them, or whole.
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
        #: Whether views share passes.
        self.joint = bool(self._together)
        self._levels: dict[int, Levels] = {}
        self.gradient = gradient and torch.is_grad_enabled()
        replaced = [views.replaced(v) if masked else None for v in range(len(views))]
        pairs = list(zip(views.images, replaced, strict=True))
        self._images = [whole if changed is None else changed for whole, changed in pairs]
        hides = [masked and changed is None for changed in replaced]
        self._masks = [views.mask(v) if hiding else None for v, hiding in enumerate(hides)]

    def without_gradient(self) -> 'Branch':
        """The same views and encoder, nothing encoded yet, a pass for each view, no gradient, no mask."""
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
        """Whether two views can be one batch: of one size, and both masked or neither."""
        images, masks = self._images, self._masks
        alike = images[first].shape == images[second].shape
        return alike and (masks[first] is None) == (masks[second] is None)
