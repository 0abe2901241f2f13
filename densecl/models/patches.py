"""Images as patches, and patches as images."""

import torch.nn.functional as F
from torch import Tensor

EPS = 1e-6


def patches_of(images: Tensor, patch: int) -> Tensor:
    """Split images into patches of side p: (B, C, H, W) -> (B, p * p * C, H / p, W / p).

    The pixels of a patch are in the order row, column, channel.

    Raises:
        ValueError: a side is not a multiple of the patch.
    """
    (height, width), (h, w) = images.shape[2:], (side // patch for side in images.shape[2:])
    if (h * patch, w * patch) != (height, width):
        raise ValueError(f'patches of {patch} px do not fill images of {height} x {width} px')
    return F.pixel_unshuffle(images, patch).unflatten(1, (-1, patch**2)).transpose(1, 2).flatten(1, 2)


def images_of(patches: Tensor, patch: int) -> Tensor:
    """The inverse of :func:`patches_of`: (B, p * p * C, h, w) -> (B, C, h * p, w * p)."""
    return F.pixel_shuffle(patches.unflatten(1, (patch**2, -1)).transpose(1, 2).flatten(1, 2), patch)


def normalised_patches(patches: Tensor, eps: float = EPS) -> Tensor:
    """Normalise each patch of (B, D, h, w) to mean 0 and (unbiased) variance 1 over D."""
    variance = patches.var(1, keepdim=True)
    return (patches - patches.mean(1, keepdim=True)) * (variance + eps).rsqrt()
