"""The pixels of an image, patch by patch, as a target."""

import torch.nn.functional as F
from torch import Tensor, nn

from densecl.numerics import full_precision
from densecl.registry import MODELS

EPS = 1e-6


def patches_of(images: Tensor, patch: int) -> Tensor:
    """Split images into patches of side p: (B, C, H, W) -> (B, p * p * C, H / p, W / p).

    The pixels of a patch are in the order row, column, channel.

    Raises:
        ValueError: a side is not a multiple of the patch.
    """
    (height, width), (h, w) = images.shape[2:], (side // patch for side in images.shape[2:])
    if (h * patch, w * patch) != (height, width):
        raise ValueError(f'Pixels: patches of {patch} px do not fill images of {height} x {width} px')
    return F.pixel_unshuffle(images, patch).unflatten(1, (-1, patch**2)).transpose(1, 2).flatten(1, 2)


def images_of(patches: Tensor, patch: int) -> Tensor:
    """The inverse of :func:`patches_of`: (B, p * p * C, h, w) -> (B, C, h * p, w * p)."""
    return F.pixel_shuffle(patches.unflatten(1, (patch**2, -1)).transpose(1, 2).flatten(1, 2), patch)


def normalised_patches(patches: Tensor, eps: float = EPS) -> Tensor:
    """Normalise each patch of (B, D, h, w) to mean 0 and (unbiased) variance 1 over D."""
    variance = patches.var(1, keepdim=True)
    return (patches - patches.mean(1, keepdim=True)) * (variance + eps).rsqrt()


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
