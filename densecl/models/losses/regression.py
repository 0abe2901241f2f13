"""Objectives without negatives: the key is predicted, and nothing else keeps keys apart."""

from torch import Tensor, nn

from densecl.registry import MODELS

from .functional import negative_cosine
from .samples import Samples


@MODELS.register_module()
class NegativeCosine(nn.Module):
    """``-cos(prediction, key)``, mean over the queries (SimSiam, Chen and He, 2021, eq. 1).

    It collapses unless the head stops the keys' gradient and has a predictor. Over processes each scores
    its own queries; the mean over equal batches is that of one process.

    Args:
        squared_distance: ``|p - z|^2 = 2 - 2 cos`` of the unit vectors instead, the same up to a factor of 2
            and a constant. BYOL (Grill et al., 2020, eq. 2 and 3) *sums* it over both directions where a
            head takes the mean: ``loss_weight=2`` on the head.
    """

    def __init__(self, squared_distance: bool = False) -> None:
        super().__init__()
        self.squared_distance = squared_distance

    def forward(
        self,
        query: Tensor,
        positive: Tensor,
        new_keys: Tensor | None = None,
        samples: Samples | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Score (N, C) predictions against (N, C) keys.

        Returns:
            The scalar loss, in [-1, 1] or [0, 4], and ``pos_sim``, the mean cosine.
        """
        loss = negative_cosine(query, positive)
        diagnostics = {'pos_sim': -loss.detach()}
        return (2 + 2 * loss if self.squared_distance else loss), diagnostics
