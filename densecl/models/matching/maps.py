"""What a matching rule may look at."""

from dataclasses import dataclass

from torch import Tensor


@dataclass
class ViewMaps:
    """One view of a batch, as seen by a dense head.

    Attributes:
        features: (B, C, H, W), the level of the backbone (or neck) that the head reads.
        projections: (B, D, H, W), the same after the projector.
        boxes: (B, 4), the crops in pixels of the original images.
        flipped: (B,) bool.
    """

    features: Tensor
    projections: Tensor
    boxes: Tensor
    flipped: Tensor
