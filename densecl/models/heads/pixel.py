"""The cells of a feature map as the units, each with any number of positives."""

import torch
import torch.nn.functional as F
from torch import Tensor

from densecl.models.losses import Samples
from densecl.registry import MODELS

from .base import PretrainHead, project
from .dense import DenseHead, cells
from .image import pool


@MODELS.register_module()
class PixelHead(DenseHead):
    """Compare each cell with all of its matches in the other view: PixPro, PixContrast, SetSim.

    The rule may name several matches of a cell, or none: it returns bool (B, Nq, Nk). One that returns
    indices, a match each, serves as well.

    Args:
        **kwargs: see :class:`DenseHead`. The predictor maps (B, D, H, W) to (B, D, H, W)
            (``PixelPropagation``); the objective is called as ``objective(query (B, Nq, D), keys (B, Nk, D),
            positives bool (B, Nq, Nk), samples)``.
    """

    def pair_loss(self, query, key, views):
        """The objective over all positive pairs, and ``matched``, the share of images that have one."""
        with torch.no_grad():
            positives = self.matching(query, key)
            if positives.dtype != torch.bool:  # (B, Nq), index into the key's cells
                positives = F.one_hot(positives, key.projections[0, 0].numel()).bool()
        self.embeddings = cells(query.projections).detach().flatten(0, 1)
        loss, diagnostics = self.objective(
            cells(self.predict(query.projections)),
            cells(self.key_of(key.projections)),
            positives,
            Samples(indices=views.indices, labels=views.labels),
        )
        matched = positives.flatten(1).any(1).float().mean()
        return {'loss': loss, **diagnostics, 'matched': matched}


@MODELS.register_module()
class PooledHead(PretrainHead):
    """Project (and predict) each cell, average over the image afterwards: PixPro's instance branch.

    :class:`~densecl.models.heads.ImageHead` averages first: another vector where a projector is nonlinear.

    Args:
        **kwargs: see :class:`PretrainHead`; projector and predictor map (B, C, H, W) to (B, D, H, W).
    """

    def units(self, branch, projector, views, wanted):
        """View -> (B, D, H, W) projections; see :meth:`PretrainHead.units`."""
        levels = {v: branch[v][self.level] for v in wanted}
        return project(projector, levels, branch.joint)

    def pair_loss(self, query: Tensor, key: Tensor, views):
        """The objective on the averages; see :meth:`PretrainHead.pair_loss`."""
        self.embeddings = pool(query).detach()
        samples = Samples(indices=views.indices, labels=views.labels)
        loss, diagnostics = self.objective(
            pool(self.predict(query)), pool(self.key_of(key)), samples=samples
        )
        return {'loss': loss, **diagnostics}
