"""SwAV's objective: each crop predicts the codes of the others."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from densecl.distributed import all_gather, rank, world_size
from densecl.models.memory import Queue
from densecl.registry import MODELS
from densecl.schedule import Clock

from .assignments import entropy, mean_entropy
from .functional import full_precision, sinkhorn, swapped_crops


@MODELS.register_module()
class SwappedPrediction(nn.Module):
    """SwAV (Caron et al., 2020): Sinkhorn codes of the assigning crops, predicted from every other crop.

    The codes share the prototypes out evenly over the batch of all processes. Where that batch is small,
    a queue of earlier embeddings joins it, with scores of the present prototypes (section 3.1); the
    oldest are overwritten after use. All processes hold the same queue, and each brings a part of it to
    the common Sinkhorn step, so that one process and several compute the same.

    Args:
        temperature: t > 0 of the prediction.
        epsilon: smoothness of the codes; the official advice for a loss stuck at ln K is to lower it to 0.03.
        iterations: of Sinkhorn's algorithm.
        queue: embeddings to keep for each assigning crop; 0 for none.
        dim: width C of an embedding in the queue.
        queue_start: epoch in which the queue begins to fill. It serves as soon as it is full.
        assign: number of assigning crops, for each of which there is a queue.

    Raises:
        ValueError: a number is out of its range.
    """

    def __init__(
        self,
        temperature: float = 0.1,
        epsilon: float = 0.05,
        iterations: int = 3,
        queue: int = 0,
        dim: int = 128,
        queue_start: float = 15,
        assign: int = 2,
    ) -> None:
        super().__init__()
        if not (temperature > 0 and epsilon > 0 and iterations >= 1 and queue >= 0):
            raise ValueError(
                'SwappedPrediction: temperature and epsilon must be > 0, iterations >= 1, queue >= 0, '
                f'got {temperature}, {epsilon}, {iterations} and {queue}'
            )
        self.temperature = temperature
        self.epsilon = epsilon
        self.iterations = iterations
        self.queues = nn.ModuleList(Queue(queue, dim) for _ in range(assign if queue else 0))
        self.queue_start = queue_start
        self.clock: Clock | None = None
        self._full = False

    def _load_from_state_dict(self, *args, **kwargs) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._full = False  # look again

    def forward(
        self,
        students: Sequence[Tensor],
        teachers: Sequence[Tensor],
        embeddings: Sequence[Tensor],
        prototypes: Callable[[Tensor], Tensor],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Make the codes, score their predictions, then remember the embeddings.

        Args:
            students: (B, K) scores of every crop, the assigning ones first.
            teachers: (B, K) scores of the assigning crops, from which the codes come, without gradient.
            embeddings: (B, C) unit embeddings of the assigning crops.
            prototypes: (N, C) -> (N, K), scores of embeddings with the present prototypes.

        Returns:
            The scalar loss (ln K where all is guessing), and diagnostics without gradient:
            ``code_entropy``, mean over images, and ``usage_entropy``, of the mean prediction of the
            assigning crops, both as shares of ln K. A code entropy of 1 is collapse: all images
            are alike, and evenly sharing out leaves nothing to predict.
        """
        codes = self.codes(teachers, embeddings, prototypes)
        loss = swapped_crops(students, codes, self.temperature)
        if self.training and self.queues and self._started():
            for queue, rows in zip(self.queues, embeddings, strict=True):
                queue.enqueue(all_gather(rows.detach()))
        predictions = torch.cat([full_precision(s.detach()) for s in teachers]) / self.temperature
        return loss, {
            'code_entropy': mean_entropy(torch.cat(codes)),
            'usage_entropy': entropy(predictions.softmax(-1).mean(0)),
        }

    @torch.no_grad()
    def codes(
        self,
        teachers: Sequence[Tensor],
        embeddings: Sequence[Tensor],
        prototypes: Callable[[Tensor], Tensor],
    ) -> list[Tensor]:
        """(B, K) codes of each assigning crop; for the arguments see :meth:`forward`."""
        if self.queues and len(self.queues) != len(teachers):
            raise ValueError(
                f'SwappedPrediction: queues for assign={len(self.queues)} crops, but the head '
                f'assigns {len(teachers)}; set assign of both to the same number'
            )
        earlier = [scores[:0] for scores in teachers]
        if self.queues and self._ready():
            earlier = [prototypes(q.keys[rank() :: world_size()]) for q in self.queues]
        codes = [
            sinkhorn(torch.cat([old, scores]), self.epsilon, self.iterations, across_ranks=True)
            for old, scores in zip(earlier, teachers, strict=True)
        ]
        return [code[-len(scores) :] for code, scores in zip(codes, teachers, strict=True)]

    def _started(self) -> bool:
        clock = self.clock or Clock()
        return not self.queue_start or clock.step >= clock.steps(
            self.queue_start, 'epoch', 'SwappedPrediction.queue_start'
        )

    def _ready(self) -> bool:
        """Whether the queues are full; waits for the device only while they fill."""
        if not self._full and self._started():
            self._full = bool(self.queues[0].filled >= 1)
        return self._full
