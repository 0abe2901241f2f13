"""The whole image as the unit."""

import torch
from torch import Tensor

from densecl.registry import MODELS

from .base import PretrainHead


def pool(level: Tensor) -> Tensor:
    """Global average pooling, (B, C, H, W) -> (B, C)."""
    return level.mean((2, 3))


@MODELS.register_module()
class ImageHead(PretrainHead):
    """Pool a level, project it, and compare whole images (MoCo, He et al., 2020; v2, Chen et al., 2020).

    The arguments are those of :class:`PretrainHead`.
    """

    def pair_loss(self, online, target, views, target_projector, query, key):
        """InfoNCE of the pooled, projected views; see :meth:`PretrainHead.pair_loss`."""
        q = self.projector(pool(online[query][self.level]))  # (B, C)
        with torch.no_grad():
            k = target_projector(pool(target[key][self.level]))  # (B, C)
        self.embeddings = q.detach()
        loss, diagnostics = self.objective(q, k)
        return {'loss': loss, **diagnostics}
