"""Photometric augmentation of whole batches, each sample with its own parameters.

The operators take float images (B, 3, H, W) on the scale 0..255 and per-sample values (B,) on the same device
(the blur: on the CPU). They follow ``torchvision.transforms.v2.functional``, which has one value for all
images, and float images on the scale 0..1. The order is that of MoCo v2 (Chen et al., 2020) and BYOL (Grill
et al., 2020, app. B): colour jitter, grey, blur, solarise. The flip commutes with all of them and is done in
the workers.
"""

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from densecl.structures import PhotometricParams
from densecl.structures.photometric_params import GRAY_WEIGHTS

Operator = Callable[[Tensor, Tensor], Tensor]
MAX_VALUE = 255.0
BLUR_REACH = 4  # the kernel covers +-4 sigma; 6e-5 of the Gaussian's mass lies outside


def apply_photometric(images: Tensor, params: PhotometricParams, compiled: bool = False) -> Tensor:
    """Apply every sample's own parameters to float images (B, 3, H, W), 0..255, in place; returns them.

    The parameters are on the CPU: so it is known, without waiting for the device, which samples an operator
    changes, and it runs only on these. With ``compiled``, each is one kernel, see :func:`in_one_kernel`.
    """
    return run_steps(images, found_steps(_plan(params)), compiled)


@functools.cache
def in_one_kernel(operator: Operator) -> Operator:
    """Compile an operator with ``torch.compile``, without graph breaks, for any number and size of images."""
    return torch.compile(operator, dynamic=True, fullgraph=True)


def run_steps(images: Tensor, steps: list[tuple], compiled: bool = False) -> Tensor:
    """Run the result of :func:`found_steps` on float images (B, C, H, W), in place; returns them.

    The blur is never compiled: it is two matrix products.
    """
    if not steps:
        return images
    chosen = torch.cat([index for _, index, _ in steps]).to(images.device, non_blocking=True)
    values = torch.cat([value for _, _, value in steps]).to(images.device, non_blocking=True)
    lengths = [len(index) for _, index, _ in steps]
    parts = zip(steps, chosen.split(lengths), values.split(lengths), strict=True)
    for (operator, _, cpu), index, value in parts:
        if operator is blur:
            changed = blur(images[index], cpu)
        else:
            changed = (in_one_kernel(operator) if compiled else operator)(images[index], value)
        images.index_copy_(0, index, changed)
    return images


def _plan(params: PhotometricParams) -> list[tuple]:
    """The operators in their order, each with a mask of the samples that it changes, and its values."""
    steps = [
        (operator, params.jitter & (ops == op), params.factors[:, op])
        for ops in params.order.unbind(1)
        for op, operator in enumerate((brightness, contrast, saturation, hue))
    ]
    steps.append((gray, params.gray, params.sigma))
    steps.append((blur, params.sigma > 0, params.sigma))
    steps.append((solarize, params.solarize <= MAX_VALUE, params.solarize))
    return steps


def found_steps(steps: list[tuple]) -> list[tuple]:
    """The steps that change at least one sample: operator, positions of these samples, and their values."""
    found = [(operator, mask.nonzero().flatten(), value) for operator, mask, value in steps]
    return [(operator, index, value[index]) for operator, index, value in found if len(index)]


def _to_gray(images: Tensor) -> Tensor:
    """Luminance, (B, 1, H, W)."""
    red, green, blue = images.split(1, 1)
    wr, wg, wb = GRAY_WEIGHTS
    return (red * wr).add_(green, alpha=wg).add_(blue, alpha=wb)


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply by ``factor`` and clamp."""
    return (images * factor.view(-1, 1, 1, 1)).clamp_(0, MAX_VALUE)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the mean of the grey image and clamp."""
    mean = _to_gray(images).mean((1, 2, 3), keepdim=True)
    return torch.lerp(mean, images, factor.view(-1, 1, 1, 1)).clamp_(0, MAX_VALUE)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the grey image and clamp."""
    return torch.lerp(_to_gray(images), images, factor.view(-1, 1, 1, 1)).clamp_(0, MAX_VALUE)


def hue(images: Tensor, shift: Tensor) -> Tensor:
    """Rotate the hue by ``shift``, in turns.

    This is a rotation in HSV, without computing S: a channel of the result is V - C * ramp(angle), with
    chroma C = max - min and a ramp that rises and falls once per turn.
    """
    red, green, blue = images.unbind(1)
    value, low = images.amax(1), images.amin(1)
    chroma = value - low
    inverse = torch.where(chroma > 0, chroma, 1.0).reciprocal_()
    # The angle in sixths of a turn. Grey has no hue; as its chroma is 0, any angle will do.
    angle = torch.where(
        value == red,
        (green - blue) * inverse,
        torch.where(value == green, (blue - red) * inverse + 2, (red - green) * inverse + 4),
    )
    angle += 6 * shift[:, None, None]
    # Distance, along the circle, to the angle at which the channel is lowest.
    offsets = 3 - 2 * torch.arange(3, device=images.device, dtype=images.dtype)[:, None, None]
    away = angle[:, None] + offsets
    away.sub_((away / 6).round_(), alpha=6).abs_()
    ramp = away.neg_().add_(2).clamp_(0, 1)
    return torch.addcmul(value[:, None], chroma[:, None], ramp, value=-1)


def gray(images: Tensor, _: Tensor | None = None) -> Tensor:
    """Grey in three equal channels."""
    return _to_gray(images).expand(-1, 3, -1, -1)


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Invert the values at or above ``threshold``."""
    return torch.where(images >= threshold.view(-1, 1, 1, 1), MAX_VALUE - images, images)


def blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur, mirrored at the border (torchvision's ``gaussian_blur``), with a kernel of +-4 sigma.

    ``sigma`` is (B,) on the CPU, in pixels, above 0. Each axis is one batched matrix product: every row of a
    sample's matrix holds its kernel, folded at the borders. So samples with different sigmas run together.
    """
    weights = _kernels(sigma).to(images.device, non_blocking=True)
    with torch.autocast(images.device.type, enabled=False):
        rows = _blur_matrix(weights, images.shape[2])[:, None]
        cols = _blur_matrix(weights, images.shape[3])
        # (B, CH, W) @ (B, W, W), then (B, 1, H, H) @ (B, C, H, W)
        wide = torch.bmm(images.flatten(1, 2), cols.transpose(1, 2)).view(images.shape)
        return torch.matmul(rows, wide)


def _kernels(sigma: Tensor) -> Tensor:
    """(B, 2R + 1) normalised kernels, where R is the largest reach; each is 0 beyond its own reach."""
    reach = torch.ceil(BLUR_REACH * sigma)[:, None]
    radius = int(reach.max())
    offset = torch.arange(-radius, radius + 1)[None]
    weights = torch.exp(-0.5 * (offset / sigma[:, None]) ** 2) * (offset.abs() <= reach)
    return weights / weights.sum(1, keepdim=True)


def _blur_matrix(weights: Tensor, length: int) -> Tensor:
    """(B, L, L): row i holds a sample's kernel around i, mirrored at the ends."""
    taps = _taps(length, weights.shape[1] // 2, weights.device)
    return (weights @ taps.flatten(1)).view(-1, length, length)


@functools.lru_cache(maxsize=32)
def _taps(length: int, radius: int, device: torch.device) -> Tensor:
    """(2R + 1, L, L): 1 where tap k of output i reads input j."""
    source = torch.arange(length)[None] + torch.arange(-radius, radius + 1)[:, None]
    period = max(2 * (length - 1), 1)
    source = source.remainder(period)
    source = torch.minimum(source, period - source)
    return F.one_hot(source, length).float().to(device, non_blocking=True)
