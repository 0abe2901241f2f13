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
        frame: (B, 2), width and height of the original images in pixels, for rules that measure in shares
            of them; None where they are not known.
    """

    features: Tensor
    projections: Tensor
    boxes: Tensor
    flipped: Tensor
    frame: Tensor | None = None

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of the maps in cells."""
        return tuple(self.projections.shape[2:])

    def shares(self) -> Tensor:
        """(B, 4), the crops in shares of the images' width and height."""
        if self.frame is None:
            raise ValueError(
                'ViewMaps.frame is None: this rule measures in shares of the original image; give its '
                'width and height, (B, 2)'
            )
        return self.boxes / self.frame.repeat(1, 2)
