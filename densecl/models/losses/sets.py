"""The objective of SetSim."""

import torch
from torch import Tensor, nn

from densecl.distributed import all_gather
from densecl.models.memory import Queue
from densecl.registry import MODELS

from .functional import full_precision, set_info_nce, unit
from .samples import Samples
from .temperatures import Temperature


@MODELS.register_module()
class SetInfoNCE(nn.Module):
    """Cells with sets of positives against earlier images' pooled keys (SetSim, Wang et al., 2022).

    :class:`MultiPositive` differs in two points: it sums over the positives *inside* the logarithm, and it
    takes the mean over all cells at once rather than image by image.

    Args:
        temperature: t > 0, or a schedule.
        queue: number of earlier keys, the only negatives.
        dim: width C of a key.
    """

    def __init__(self, temperature: float | dict = 0.2, queue: int = 65536, dim: int = 128) -> None:
        super().__init__()
        self.temperature = Temperature(temperature)
        self.queue = Queue(queue, dim)

    def forward(
        self, query: Tensor, keys: Tensor, positives: Tensor, samples: Samples | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Score the cells of B images, then remember one key an image: cells averaged, then normalised.

        Args:
            query: (B, N, C).
            keys: (B, M, C).
            positives: bool (B, N, M).
            samples: the images; their positions in the data set go into the queue.

        Returns:
            The scalar loss; ``pos_sim``, the mean cosine of positive pairs; ``positives``, their number for
            each cell that has any.
        """
        temperature = self.temperature(None, samples, None)
        keys = full_precision(keys)
        # A copy: the queue moves on before the backward pass.
        loss = set_info_nce(query, keys, positives, self.queue.keys.clone(), temperature)
        with torch.no_grad(), torch.autocast(query.device.type, enabled=False):
            pairs = positives.sum()
            cosine = unit(query) @ unit(keys).transpose(1, 2)
            diagnostics = {
                'pos_sim': torch.where(positives, cosine, 0.0).sum() / pairs.clamp(min=1),
                'positives': pairs / positives.any(-1).sum().clamp(min=1),
            }
            if self.training:
                known = samples is not None and samples.indices is not None
                indices = all_gather(samples.indices) if known else None
                self.queue.enqueue(all_gather(unit(keys.mean(1))), indices)
        return loss, diagnostics
