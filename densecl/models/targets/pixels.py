"""The pixels of an image, patch by patch."""

import torch.nn.functional as F
from torch import Tensor, nn

from densecl.numerics import full_precision
from densecl.registry import MODELS

EPS = 1e-6


def patches_of(images: Tensor, patch: int) -> Tensor:
    """(B, C, H, W) -> (B, p * p * C, H / p, W / p): each patch in the order row, column, channel.

    Raises:
        ValueError: a side is no multiple of the patch.
    """
    (height, width), (h, w) = images.shape[2:], (side // patch for side in images.shape[2:])
    if (h * patch, w * patch) != (height, width):
        raise ValueError(f'Pixels: patches of {patch} px do not fill images of {height} x {width} px')
    return F.pixel_unshuffle(images, patch).unflatten(1, (-1, patch**2)).transpose(1, 2).flatten(1, 2)


def images_of(patches: Tensor, patch: int) -> Tensor:
    """(B, p * p * C, h, w) -> (B, C, h * p, w * p), what :func:`patches_of` undoes."""
    return F.pixel_shuffle(patches.unflatten(1, (patch**2, -1)).transpose(1, 2).flatten(1, 2), patch)


def normalised_patches(patches: Tensor, eps: float = EPS) -> Tensor:
    """(B, D, h, w), minus its mean over D and over its standard deviation, of unbiased variance."""
    variance = patches.var(1, keepdim=True)
    return (patches - patches.mean(1, keepdim=True)) * (variance + eps).rsqrt()


@MODELS.register_module()
class Pixels(nn.Module):
    """(B, C, H, W) images, normalised as the backbone sees them -> one level (B, p * p * C, H / p, W / p).

    Args:
        patch: side p of a patch in pixels.
        normalise: each patch by its own mean and variance, which makes better features than plain pixels
            (MAE, He et al., 2022, table 1d).
    """

    def __init__(self, patch: int, normalise: bool = False) -> None:
        super().__init__()
        self.patch, self.normalise = patch, normalise

    def forward(self, images: Tensor) -> tuple[Tensor]:
        patches = patches_of(full_precision(images), self.patch)
        return (normalised_patches(patches) if self.normalise else patches,)

    def images(self, prediction: Tensor, images: Tensor) -> Tensor:
        """(B, p * p * C, h, w) as predicted -> (B, C, H, W) images, to be looked at.

        Where patches are normalised, ``images`` lend each its own mean and variance, which no one predicted.
        """
        if self.normalise:
            true = patches_of(full_precision(images), self.patch)
            scale = (true.var(1, keepdim=True) + EPS).sqrt()
            prediction = full_precision(prediction) * scale + true.mean(1, keepdim=True)
        return images_of(prediction, self.patch)
