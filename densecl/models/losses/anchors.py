"""Fixed points that classes are drawn to."""

import torch
from torch import Tensor, nn

from densecl.registry import MODELS

from .functional import orthonormal_prototypes, unit
from .labelled import check_classes, labelled_mean, labels_of, own_mean
from .samples import Samples


@MODELS.register_module()
class PrototypeAlignment(nn.Module):
    """``1 - (cos(z, a_y) + cos(z', a_y)) / 2``: both views drawn to their class's anchor (CLOP, Li et al.,
    2024).

    The anchors are orthonormal and frozen. They are made from a seed, so all processes have the same, and
    travel with the checkpoint. Added to a contrastive objective by :class:`Sum`. Mean over the labelled
    rows of all processes, exact however the labels are spread.

    Args:
        classes: number of anchors, at most ``dim``.
        dim: width C of the embeddings.
        seed: of the anchors.
    """

    def __init__(self, classes: int, dim: int = 128, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer('anchors', orthonormal_prototypes(classes, dim, generator))

    def forward(
        self,
        query: Tensor,
        positive: Tensor,
        new_keys: Tensor | None = None,
        samples: Samples | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Score both views, (N, C) each; rows of label -1 are skipped.

        Returns:
            The scalar loss, in [0, 2], and ``anchor_sim``, the mean cosine with the class's anchor.
        """
        labels = labels_of(samples, 'PrototypeAlignment')
        check_classes(labels, len(self.anchors), 'PrototypeAlignment')
        with torch.autocast(query.device.type, enabled=False):
            query, positive = unit(query), unit(positive)
            anchors = unit(self.anchors.to(query.dtype))[labels.clamp(min=0)]
            cosine = ((query + positive) * anchors).sum(-1) / 2
            loss = labelled_mean(1 - cosine, labels >= 0)
        return loss, {'anchor_sim': own_mean(cosine.detach(), labels >= 0)}
