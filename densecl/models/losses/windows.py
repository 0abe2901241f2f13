"""The regional objective of ReSim."""

import torch
from torch import Tensor, nn

from densecl.distributed import all_reduce, rank, world_size
from densecl.registry import MODELS

from .functional import unit
from .ring import all_ranks_logsumexp
from .samples import Samples
from .temperatures import Temperature
from .tiled import similarity_logsumexp


@MODELS.register_module()
class WindowInfoNCE(nn.Module):
    """Windows against the same window in the other view and against places of all key maps (ReSim,
    Xiao et al., 2021, section 3.2).

    ``-log( e^(q.k+ / t) / (e^(q.k+ / t) + sum_p e^(q.p / t)) )``, mean over the windows that count, on unit
    vectors; p runs over the places of the other images' key maps and, as far as they are ``apart`` from
    the window, of its own image's. Over processes the mean of losses and gradients is that of one process
    with all windows, however unevenly those that count are spread. Similarities with other images are never
    in memory as a whole.

    Args:
        temperature: t > 0, or a schedule.
        gathered: places of all processes are negatives. The official code has False for its lower level
            (P3), so that the loss depends on how the batch is split.
    """

    def __init__(self, temperature: float | dict = 0.2, gathered: bool = True) -> None:
        super().__init__()
        self.temperature = Temperature(temperature)
        self.gathered = gathered

    def forward(
        self,
        query: Tensor,
        positive: Tensor,
        places: Tensor,
        counted: Tensor,
        apart: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Score the W windows of B images.

        Args:
            query: (B, W, C).
            positive: (B, W, C), the same windows in the key view.
            places: (B, P, C), places of the key map of each image.
            counted: (B, W) bool.
            apart: (B, W, P) bool, which places of its own image are negatives of a window; None: all.

        Returns:
            The scalar loss, 0 where no process has a window that counts; and, over this process's windows
            that count, ``pos_sim``, the mean cosine with the positive, and ``top1``, the share of those whose
            positive beats all negatives; ``inside``, the share of windows that count.
        """
        with torch.autocast(query.device.type, enabled=False):
            query = unit(query) / self.temperature(None, Samples(), None)
            positive, places = unit(positive), unit(places)
            logit = (query * positive).sum(-1)
            same = query @ places.transpose(1, 2)  # (B, W, P)
            if apart is not None:
                same = same.masked_fill(~apart, -torch.inf)
            others, top = self._others(query, places)
            # With the positive among them, a window without negatives has a finite sum.
            own = torch.cat([logit[..., None], same], -1).logsumexp(-1)
            terms = torch.where(counted, torch.logaddexp(own, others) - logit, 0.0)
            total = all_reduce(counted.sum().to(terms.dtype))
            loss = terms.sum() * world_size() / total.clamp(min=1)
        return loss, self._diagnostics(query, positive, logit, top.maximum(same.detach().amax(-1)), counted)

    def _others(self, query: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Of the logits with places of other images: log-sum-exp and maximum, (B, W) each."""
        (batch, windows), positions = query.shape[:2], places.shape[1]
        first = rank() * batch if self.gathered else 0
        own = first + torch.arange(batch, device=query.device).repeat_interleave(windows)

        def keep(columns: slice, logits: Tensor) -> Tensor:
            column = torch.arange(columns.start, columns.stop, device=logits.device)
            return own[:, None] != column // positions

        reduce = all_ranks_logsumexp if self.gathered else similarity_logsumexp
        lse, top = reduce(query.flatten(0, 1), places.flatten(0, 1), keep)
        return lse.view(batch, windows), top.view(batch, windows)

    @staticmethod
    @torch.no_grad()
    def _diagnostics(
        query: Tensor, positive: Tensor, logit: Tensor, hardest: Tensor, counted: Tensor
    ) -> dict[str, Tensor]:
        cosine = (unit(query) * positive).sum(-1)
        number = counted.sum().clamp(min=1)
        return {
            'pos_sim': torch.where(counted, cosine, 0.0).sum() / number,
            'top1': ((logit > hardest) & counted).sum() / number,
            'inside': counted.float().mean(),
        }
