"""A part of a representation in place of a projection of it."""

from torch import nn

from densecl.registry import MODELS


@MODELS.register_module()
class FirstChannels(nn.Module):
    """(N, C) -> (N, D), the first D channels: a part of the representation is compared, without a trained
    projector (DirectCLR, Jing et al., 2022, section 5).

    Args:
        dimensions: D, 360 of ResNet-50's 2048 in the paper.
    """

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.dimensions = dimensions

    def forward(self, x):
        """The first D channels; the others get no gradient from here."""
        if x.shape[1] < self.dimensions:
            raise ValueError(f'FirstChannels: wanted {self.dimensions} of {x.shape[1]} channels')
        return x[:, : self.dimensions]
