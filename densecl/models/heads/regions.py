"""Random regions of the overlap of two views as the units."""

import torch
from torch import Tensor
from torchvision.ops import roi_align

from densecl.models.losses.functional import full_precision
from densecl.registry import MODELS
from densecl.structures import Views

from .base import PretrainHead, project


def pool_regions(level: Tensor, boxes: Tensor, size: tuple[int, int], aligned: bool) -> Tensor:
    """The mean of a feature map over boxes, by bilinear samples (RoIAlign with one bin).

    Args:
        level: (B, C, H, W).
        boxes: (B, R, 4), x1, y1, x2, y2 in pixels of the view.
        size: height and width of the view in pixels.
        aligned: see :class:`RegionHead`.

    Returns:
        (B*R, C), in float32 or better.
    """
    level = full_precision(level)
    cells = level.new_tensor([level.shape[3] / size[1], level.shape[2] / size[0]] * 2)
    with torch.autocast(level.device.type, enabled=False):
        return roi_align(level, list(boxes.to(level.dtype) * cells), 1, aligned=aligned).flatten(1)


@MODELS.register_module()
class RegionHead(PretrainHead):
    """The same random boxes of the image, seen by two views, are alike (SCRL, Roh et al., 2021).

    The boxes are those of the views' regions called ``overlap`` and serve both directions. An image whose
    views share too little is skipped: its rows, pooled over the whole views, keep the shapes fixed (nothing
    waits for the device, and processes need not agree) and have weight 0; they reach the other rows through
    batch statistics alone.

    Args:
        aligned: cell centres lie at half cells, as they do. The official code has False, which reads half a
            cell off to the lower right, and so reads a view and its mirror image at places a cell apart.
        **kwargs: see :class:`PretrainHead`. The pairs are those of two views, such as ``((0, 1), (1, 0))``;
            projector and predictor map (N, C) to (N, D); the objective is called as ``objective(query (N, D),
            key (N, D), counted bool (N,))``.
    """

    def __init__(
        self,
        *,
        aligned: bool = True,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.compared = sorted({view for pair in self.pairs for view in pair})
        if len(self.compared) != 2:
            raise ValueError(f'RegionHead compares two views, got pairs {self.pairs}')
        self.aligned = aligned
        self._boxes: dict[int, Tensor] = {}  # view -> (B, R, 4) of the present batch
        self._counted: Tensor | None = None  # (B,)

    def loss(self, online, target, views, target_projector):
        """Take the boxes, then see :meth:`PretrainHead.loss`."""
        self.needed(len(views))
        self._boxes, self._counted = self.draw(views)
        return super().loss(online, target, views, target_projector)

    def draw(self, views: Views) -> tuple[dict[int, Tensor], Tensor]:
        """Boxes of each view, view -> (B, R, 4) in its pixels, and (B,) bool, which images have any."""
        found = {v: views.regions['overlap'][v] for v in self.compared}
        return {v: r.boxes for v, r in found.items()}, found[self.compared[0]].ids[:, 0] >= 0

    def units(self, branch, projector, views, wanted):
        """View -> (B*R, D) projections; see :meth:`PretrainHead.units`."""
        pooled = {
            v: pool_regions(
                branch[v][self.level], self._boxes[v], views.images[v].shape[-2:], self.aligned
            )
            for v in wanted
        }
        return project(projector, pooled, branch.joint)

    def pair_loss(self, query, key, views):
        """The objective, and ``overlapping``, the share of images that have regions."""
        self.embeddings = query.detach()
        counted = self._counted.repeat_interleave(len(query) // len(self._counted))
        loss, diagnostics = self.objective(self.predict(query), self.key_of(key), counted)
        return {'loss': loss, **diagnostics, 'overlapping': self._counted.float().mean()}
