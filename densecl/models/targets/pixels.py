"""The pixels of an image, patch by patch, as a target."""

from torch import Tensor, nn

from densecl.models.patches import EPS, images_of, normalised_patches, patches_of
from densecl.numerics import full_precision
from densecl.registry import MODELS


@MODELS.register_module()
class Pixels(nn.Module):
    """(B, C, H, W) images, normalised as for the backbone -> one level (B, p * p * C, H / p, W / p).

    Args:
        patch: side p of a patch in pixels.
        normalise: normalise each patch by its own mean and variance. This gives better features than plain
            pixels (MAE, He et al., 2022, table 1d).
    """

    def __init__(self, patch: int, normalise: bool = False) -> None:
        super().__init__()
        self.patch, self.normalise = patch, normalise

    def forward(self, images: Tensor) -> tuple[Tensor]:
        patches = patches_of(full_precision(images), self.patch)
        return (normalised_patches(patches) if self.normalise else patches,)

    def images(self, prediction: Tensor, images: Tensor) -> Tensor:
        """A prediction (B, p * p * C, h, w) -> images (B, C, H, W), to look at.

        If patches are normalised, their mean and variance are not predicted: they are taken from ``images``.
        """
        if self.normalise:
            true = patches_of(full_precision(images), self.patch)
            scale = (true.var(1, keepdim=True) + EPS).sqrt()
            prediction = full_precision(prediction) * scale + true.mean(1, keepdim=True)
        return images_of(prediction, self.patch)
