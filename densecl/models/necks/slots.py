"""The projector of SlotCon: cells, and the slots that compete for them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from densecl.numerics import full_precision, no_autocast, unit
from densecl.registry import MODELS

from .mlp import ConvMLP


@MODELS.register_module()
class SlotProjector(nn.Module):
    """(B, C, H, W) -> (B, D, H, W): an MLP on every cell; it also holds K learned slots.

    Slots are part of the projector, so that the target branch has its own moving average of them (SlotCon,
    Wen et al., 2022, section 3.3). They start as standard normal vectors, as in the official code.

    Args:
        channels: widths of the MLP from the level to the cells' embedding.
        slots: number K of slots, at least 2; 256 for COCO and 2048 for ImageNet.
        temperature: > 0, of the softmax in which slots compete for cells.
        **kwargs: see :class:`~densecl.models.necks.ConvMLP`, such as ``norm=True``.
    """

    def __init__(self, channels: Sequence[int], slots: int, temperature: float = 0.07, **kwargs) -> None:
        super().__init__()
        if slots < 2:
            raise ValueError(f'SlotProjector: slots must be at least 2, got {slots}')
        if temperature <= 0:
            raise ValueError(f'SlotProjector: temperature must be positive, got {temperature}')
        self.mlp = ConvMLP(channels, **kwargs)
        self.slots = nn.Parameter(torch.randn(slots, channels[-1]))
        self.temperature = temperature

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D, H, W), not normalised."""
        return self.mlp(x)

    def group(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """:func:`slot_attention` of the maps that :meth:`forward` returned; in float32 or better."""
        return slot_attention(maps, self.slots, self.temperature)


@no_autocast
def slot_attention(maps: Tensor, slots: Tensor, temperature: float | Tensor) -> tuple[Tensor, Tensor]:
    """Slots compete for cells, then average the cells that they got (SlotCon, Wen et al., 2022, eq. 1 and 5).

    The competition uses unit vectors of cells and slots. The average is over the cells' vectors without
    normalisation.

    Args:
        maps: (B, C, H, W), projected cells.
        slots: (K, C), the learned prototypes.
        temperature: > 0, of the softmax over the slots; 0.07.

    Returns:
        vectors: (B, K, C), the mean of each slot's cells.
        scores: (B, K, H, W), cosines of slots and cells.
    """
    cells = full_precision(maps).flatten(2)  # (B, C, H*W)
    scores = torch.einsum('kc,bcn->bkn', unit(slots), unit(cells, dim=1))
    shares = (scores / temperature).softmax(1) + 1e-6  # so that a slot without cells has a mean, too
    shares = shares / shares.sum(2, keepdim=True)
    vectors = torch.einsum('bkn,bcn->bkc', shares, cells)
    return vectors, scores.unflatten(2, maps.shape[2:])


@torch.no_grad()
def active_slots(scores: Tensor) -> Tensor:
    """Which slots have the highest score in at least one cell, (B, K, H, W) -> (B, K) bool."""
    best = scores.flatten(2).argmax(1)  # (B, H*W)
    active = torch.zeros(scores.shape[:2], dtype=torch.bool, device=scores.device)
    return active.scatter_(1, best, True)
