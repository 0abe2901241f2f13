"""The objective of DetCon."""

import torch
from torch import Tensor, nn

from densecl.distributed import rank
from densecl.registry import MODELS

from .functional import mask_contrast_terms, mask_repeats, unit
from .ring import all_ranks_logsumexp
from .samples import Samples
from .temperatures import Temperature


@MODELS.register_module()
class MaskContrast(nn.Module):
    """Masks of objects against those of all images and processes (DetCon, Hénaff et al., 2021, eq. 3).

    See :func:`~densecl.models.losses.functional.mask_contrast`. Over processes the mean of losses and
    gradients is that of one process with the whole batch. DetCon *sums* both directions where a head takes
    the mean: ``loss_weight=2`` on the head.

    Args:
        temperature: t > 0, or a schedule.
    """

    def __init__(self, temperature: float | dict = 0.1) -> None:
        super().__init__()
        self.temperature = Temperature(temperature)

    def forward(
        self, query: Tensor, keys: Tensor, own: Tensor, query_ids: Tensor, key_ids: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Score the K masks of each of B images.

        Args:
            query: (B, K, C), masks of one view.
            keys: (B, K, C), masks of the other view.
            own: (B, K, C), the query view's masks once more, as keys.
            query_ids: (B, K) int64, which mask each row of ``query`` and ``own`` is.
            key_ids: (B, K) int64, likewise of ``keys``.

        Returns:
            The scalar loss, and of this process: ``per_mask``, the loss of a mask that both views hold, near
            ln(2 * K * images) for random vectors; ``pos_sim``, the mean cosine of positive pairs;
            ``shared``, the share of masks that the other view holds too; ``distinct``, how many masks a view
            has.
        """
        temperature = self.temperature(None, Samples(), None)
        first = rank() * 2 * query_ids.numel()
        terms = mask_contrast_terms(
            query, keys, own, query_ids, key_ids, temperature, all_ranks_logsumexp, first
        )
        loss = (terms / mask_repeats(query_ids)).mean()
        return loss, _diagnostics(query, keys, query_ids, key_ids, loss)


@torch.no_grad()
def _diagnostics(
    query: Tensor, keys: Tensor, query_ids: Tensor, key_ids: Tensor, loss: Tensor
) -> dict[str, Tensor]:
    with torch.autocast(query.device.type, enabled=False):
        cosine = unit(query) @ unit(keys).transpose(1, 2)
    positive = query_ids[:, :, None] == key_ids[:, None]
    total = torch.where(positive, cosine, 0.0).sum()
    held, weights = positive.any(2), 1 / mask_repeats(query_ids)
    return {
        'per_mask': loss.detach() / (held * weights).mean().clamp(min=1e-6),
        'pos_sim': total / positive.sum().clamp(min=1),
        'shared': held.float().mean(),
        'distinct': weights.sum(1).mean(),
    }
