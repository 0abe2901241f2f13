"""An image and its jigsaw patches, against the memory of the image."""

import torch
from torch import Tensor

from densecl.models.losses import Samples
from densecl.models.necks.patches import in_reading_order
from densecl.registry import MODELS

from .base import PretrainHead
from .image import pool

ORDERS = ('drawn', 'image')


def in_order(pooled: Tensor, boxes: list[Tensor], order: str) -> Tensor:
    """Patches in the order in which they are to be concatenated.

    Args:
        pooled: (B, P, C), as the views come.
        boxes: P tensors (B, 4), the views' boxes.
        order: ``'drawn'`` leaves them as they are, ``'image'`` puts them back row by row as they lie in the
            image.
    """
    if order == 'drawn':
        return pooled
    back = in_reading_order(torch.stack(boxes, 1))
    return pooled.gather(1, back[..., None].expand_as(pooled))


@MODELS.register_module()
class PatchesHead(PretrainHead):
    """Image and shuffled patches are both to resemble the image's vector in a memory bank (PIRL, Misra and
    van der Maaten, 2020, eq. 5).

    View 0 is the image, the views after it are its patches. ``join_views=True`` of the pretrainer encodes all
    patches in one pass. The bank learns from the image alone, once both were scored.

    Args:
        projector: module config, (B, C) -> (B, D), of the image.
        patch_projector: module config, (B, P, C) -> (B, D), of the patches, such as ``PatchProjector``.
        objective: module config of one with a memory bank: ``NCE``.
        patch_weight: share of the patches' loss, the image's has the rest; 0.5 in the paper.
        order: in which the patches are concatenated: ``'drawn'``, the random order of the views (official
            code), or ``'image'``, row by row as they lie in the image.
        level: see :class:`PretrainHead`; so are the last two.
    """

    def __init__(
        self,
        projector: dict,
        patch_projector: dict,
        objective: dict,
        patch_weight: float = 0.5,
        order: str = 'drawn',
        level: int = -1,
        loss_weight: float = 1.0,
        warmup_steps: int = 0,
    ) -> None:
        super().__init__(
            projector, objective, level=level, loss_weight=loss_weight, warmup_steps=warmup_steps
        )
        if order not in ORDERS:
            raise ValueError(f"PatchesHead: order must be 'drawn' or 'image', got {order!r}")
        if not 0 <= patch_weight <= 1:
            raise ValueError(f'PatchesHead: patch_weight must lie in [0, 1], got {patch_weight}')
        if not hasattr(self.objective, 'remember'):
            raise ValueError(
                "PatchesHead needs an objective with a memory bank, dict(type='NCE'), got "
                f'{type(self.objective).__name__}'
            )
        self.patch_projector = MODELS.build(patch_projector)
        self.patch_weight = patch_weight
        self.order = order

    def needed(self, count: int) -> dict[str, set[int]]:
        """The image and all patches, of the online branch alone."""
        wanted = 1 + self.patch_projector.patches
        if count != wanted:
            raise ValueError(
                f'PatchesHead: an image and {wanted - 1} patches are {wanted} views, the pipeline makes '
                f"{count}; MultiView needs views=[image, dict(type='JigsawPatches', ...)]"
            )
        return {'online': set(range(count)), 'target': set()}

    def loss(self, online, target, views, target_projector):
        """See :class:`PretrainHead`; ``patch_sim`` and ``pos_sim`` are the mean cosines with the bank."""
        image = self.projector(pool(online[0][self.level]))
        patches = self.patch_projector(self._patches(online, views))
        self.embeddings = image.detach()
        samples = Samples(indices=views.indices, labels=views.labels)
        of_patches, from_patches = self.objective.score(patches, samples)
        of_image, from_image = self.objective.score(image, samples)
        if self.training:
            self.objective.remember(image, samples)
        loss = self.patch_weight * of_patches + (1 - self.patch_weight) * of_image
        return {'loss': loss, 'patch_sim': from_patches['pos_sim'], **from_image}

    def _patches(self, online, views) -> Tensor:
        """(B, P, C) pooled features, in the order of concatenation."""
        numbers = range(1, len(views))
        pooled = torch.stack([pool(online[v][self.level]) for v in numbers], 1)
        return in_order(pooled, [views.boxes[v] for v in numbers], self.order)
