"""The whole image as the unit."""

from collections.abc import Sequence

import torch
from torch import Tensor

from densecl.models.losses import Samples
from densecl.registry import MODELS

from .base import PretrainHead, project


def pool(level: Tensor) -> Tensor:
    """Global average pooling, (B, C, H, W) -> (B, C)."""
    return level.mean((2, 3))


@MODELS.register_module()
class ImageHead(PretrainHead):
    """Pool a level, project it, and compare whole images.

    With the right projector, predictor and objective that is SimCLR, MoCo v1 to v3, BYOL, SimSiam,
    Barlow Twins, VICReg, SupCon and more.

    Args:
        support: further views, encoded by the target without gradient (and each by itself), by which an
            objective may judge how alike images are (``negatives=dict(type='SimilarImages')``).
        **kwargs: see :class:`PretrainHead`.
    """

    def __init__(self, *, support: Sequence[int] = (), **kwargs) -> None:
        super().__init__(**kwargs)
        self.support = tuple(support)
        self._supporting: Tensor | None = None  # (S, B, C) of the present batch

    def loss(self, online, target, views, target_projector):
        """See :meth:`PretrainHead.loss`."""
        if self.support:
            if max(self.support) >= len(views):
                raise ValueError(
                    f'ImageHead: support {self.support} needs {max(self.support) + 1} views, the pipeline '
                    f'makes {len(views)}; add views to its MultiView or change support'
                )
            with torch.no_grad():  # apart: what is compared must not be found without its gradient
                units = self.units(target.apart(), target_projector, views, self.support)
            self._supporting = torch.stack(list(units.values()))
        return super().loss(online, target, views, target_projector)

    def units(self, branch, projector, views, wanted):
        """View -> (B, C) projections; see :meth:`PretrainHead.units`."""
        pooled = {v: pool(branch[v][self.level]) for v in wanted}
        return project(projector, pooled, branch.joint)

    def pair_loss(self, query, key, views):
        """The objective on the pooled, projected views; see :meth:`PretrainHead.pair_loss`."""
        self.embeddings = query.detach()
        samples = Samples(indices=views.indices, labels=views.labels, support=self._supporting)
        loss, diagnostics = self.objective(self.predict(query), self.key_of(key), samples=samples)
        return {'loss': loss, **diagnostics}
