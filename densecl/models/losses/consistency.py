"""Objectives on the cells of two views, any number of which are positive pairs."""

from torch import Tensor, nn

from densecl.registry import MODELS

from .functional import pixel_consistency
from .samples import Samples


@MODELS.register_module()
class PixelConsistency(nn.Module):
    """Minus the mean cosine of positive pairs, mean over images (PixPro, Xie et al., 2021, eq. 5).

    It needs a momentum target and a predictor. PixPro *sums* twice this value over both directions where a
    head takes the mean: ``loss_weight=4`` on the head. Over processes the mean over equal batches is that of
    one process.
    """

    def forward(
        self, query: Tensor, keys: Tensor, positives: Tensor, samples: Samples | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Score the cells of B images.

        Args:
            query: (B, N, C), predictions.
            keys: (B, M, C).
            positives: bool (B, N, M).
            samples: the images; not used.

        Returns:
            The scalar loss, in [-1, 1], and ``pos_sim``, the mean cosine of the images with a positive pair.
        """
        loss = pixel_consistency(query.transpose(1, 2), keys.transpose(1, 2), positives)
        share = positives.flatten(1).any(1).float().mean()
        return loss, {'pos_sim': -loss.detach() / share.clamp(min=1e-6)}
