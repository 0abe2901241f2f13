"""InfoNCE against a queue, as a module with state."""

from torch import Tensor, nn

from densecl.distributed import all_gather
from densecl.models.memory import Queue
from densecl.registry import MODELS

from .functional import info_nce_terms, unit


@MODELS.register_module()
class InfoNCE(nn.Module):
    """InfoNCE with negatives from a queue of earlier keys (MoCo, He et al., 2020).

    The loss is computed first and the keys of the batch, of all processes, enter the queue afterwards, so
    they are never their own negatives.

    Args:
        temperature: t > 0; 0.07 in MoCo v1, 0.2 in MoCo v2 and DenseCL.
        queue: number of keys that the queue holds.
        dim: width C of the keys.
    """

    def __init__(self, temperature: float = 0.2, queue: int = 65536, dim: int = 128) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f'InfoNCE: temperature must be positive, got {temperature}')
        self.temperature = temperature
        self.queue = Queue(queue, dim)

    def forward(
        self, query: Tensor, positive: Tensor, new_keys: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Score the matches, then remember the keys.

        Args:
            query: (N, C).
            positive: (N, C), without gradient.
            new_keys: (M, C), what enters the queue; ``positive`` by default.

        Returns:
            The scalar loss, and diagnostics without gradient: ``pos_sim``, the mean cosine of the positive
            pairs, and ``top1``, the share of queries whose positive beats all negatives (near 1 early in
            training it means that batch statistics leak the answer).
        """
        loss, cosine, wins = info_nce_terms(
            query, positive.detach(), self.queue.keys, self.temperature
        )
        if self.training:
            keys = positive if new_keys is None else new_keys
            self.queue.enqueue(all_gather(unit(keys.detach())))
        return loss, {'pos_sim': cosine.mean(), 'top1': wins.float().mean()}
