"""The projector of SlotCon: cells, and the slots that compete for them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from densecl.models.losses.functional import slot_attention
from densecl.registry import MODELS

from .mlp import ConvMLP


@MODELS.register_module()
class SlotProjector(nn.Module):
    """(B, C, H, W) -> (B, D, H, W): an MLP on every cell, with K learned slots beside it.

    Slots belong to the projector because the target branch keeps its own moving average of them (SlotCon,
    Wen et al., 2022, section 3.3). They start as standard normal vectors, as in the official code.

    Args:
        channels: widths of the MLP from the level to the cells' embedding.
        slots: their number K, 256 for COCO and 2048 for ImageNet.
        temperature: of the competition of slots for cells.
        **kwargs: of :class:`~densecl.models.necks.ConvMLP`, such as ``norm=True``.

    Raises:
        ValueError: fewer than two slots, or a temperature that is not positive.
    """

    def __init__(
        self, channels: Sequence[int], slots: int, temperature: float = 0.07, **kwargs
    ) -> None:
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
        """Group projected cells.

        Args:
            maps: (B, D, H, W), what :meth:`forward` returned.

        Returns:
            (B, K, D), the mean of each slot's cells, and (B, K, H, W), cosines of slots and cells; both at
            least float32. See :func:`~densecl.models.losses.functional.slot_attention`.
        """
        return slot_attention(maps, self.slots, self.temperature)
