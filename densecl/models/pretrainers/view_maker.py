"""Learned views: a network perturbs the pixels so that the encoder's task becomes hard (ViewMaker)."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from densecl.models.memory import random_bits
from densecl.numerics import full_precision
from densecl.registry import MODELS
from densecl.structures import Views

_DIGITS = 24  # bits of precision of a float32 in [0, 1)


def within_budget(raw: Tensor, budget: float) -> Tensor:
    """Perturbations of a fixed mean size: ``d = tanh(raw)``, then ``d * budget / (mean |d| + 1e-4)``.

    Tamkin et al., *Viewmaker Networks*, ICLR 2021, and the official code. The mean is over one image; single
    pixels may exceed the budget.

    Args:
        raw: (B, C, H, W), any values.
        budget: mean of ``|d|``, in the unit of the pixels.

    Returns:
        (B, C, H, W), in at least float32.
    """
    delta = full_precision(raw).tanh()
    return delta * (budget / (delta.abs().mean((1, 2, 3), keepdim=True) + 1e-4))


class _Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: float) -> Tensor:
        ctx.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.weight * gradient, None


def reverse_gradient(x: Tensor, weight: float = 1.0) -> Tensor:
    """``x`` itself; in the backward pass its gradient is multiplied by ``-weight`` (gradient reversal)."""
    return _Reversed.apply(x, weight)


class _Convolution(nn.Sequential):
    """Convolution with reflect padding, instance norm and, if ``relu``, ReLU."""

    def __init__(self, wide: int, out: int, kernel: int, stride: int = 1, relu: bool = True) -> None:
        layers = [nn.Conv2d(wide, out, kernel, stride, kernel // 2, padding_mode='reflect')]
        layers.append(nn.InstanceNorm2d(out, affine=True))
        super().__init__(*layers, *([nn.ReLU()] if relu else []))


@MODELS.register_module()
class ViewMaker(nn.Module):
    """Perturbs views in 8-bit RGB within a budget, to raise the encoder's loss (Tamkin et al., ICLR 2021).

    The network is one for style transfer: convolutions to 32, 64 and 128 channels, residual blocks at a
    quarter of the image's sides, and upsampling to the image's size. A channel of noise joins the image, and
    another one joins the input of each block. The network is trained in the same step as the encoder, by the
    encoder's loss with reversed gradient.

    The noise depends only on the image, its view and the optimiser step.

    Args:
        budget: mean of the absolute perturbation, of pixels in [0, 1]; 0.05 on CIFAR in the paper.
        views: the views that are perturbed; None: all.
        blocks: number of residual blocks.
        loss_weight: factor of the reversed gradient.

    Raises:
        ValueError: the budget is not in (0, 1); when called, a view does not exist or has corruptions.
    """

    def __init__(
        self,
        budget: float = 0.05,
        views: tuple[int, ...] | None = None,
        blocks: int = 3,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if not 0 < budget < 1:
            raise ValueError(
                f'ViewMaker: budget must be above 0 and below 1, of pixels in [0, 1], got {budget!r}'
            )
        self.budget, self.views, self.loss_weight = budget, views, loss_weight
        self.entry = nn.Sequential(
            _Convolution(3 + 1, 32, 9), _Convolution(32, 64, 3, 2), _Convolution(64, 128, 3, 2)
        )
        wide = [128 + 1 + i for i in range(blocks)]
        self.blocks = nn.ModuleList(
            nn.Sequential(_Convolution(n, n, 3), _Convolution(n, n, 3, relu=False)) for n in wide
        )
        self.up = nn.ModuleList([_Convolution(128 + blocks, 64, 3), _Convolution(64, 32, 3)])
        self.exit = nn.Conv2d(32, 3, 9, padding=4, padding_mode='reflect')
        self.images_have(torch.zeros(3), torch.full((3,), 1 / 255))

    def images_have(self, mean: Tensor, std: Tensor) -> None:
        """Set mean and std, on the scale 0..255, by which the images were normalised."""
        self.register_buffer('mean', (mean / 255).reshape(-1, 1, 1).clone(), persistent=False)
        self.register_buffer('std', (std / 255).reshape(-1, 1, 1).clone(), persistent=False)

    def perturbed(self, views: Views, step: Tensor) -> Views:
        """The views with perturbed images; ``step`` is () int64, the number of the optimiser step."""
        chosen = range(len(views)) if self.views is None else self.views
        if any(not 0 <= v < len(views) for v in chosen):
            raise ValueError(f'ViewMaker: views={self.views}, but the views are 0 .. {len(views) - 1}')
        if any(views.replaced(v) is not None for v in chosen):
            raise ValueError(
                'ViewMaker: views with corruption are replaced already; leave it out of the recipe'
            )
        images = list(views.images)
        for v in chosen:
            images[v] = self(images[v], views.indices, step * len(views) + v)
        return replace(views, images=images)

    def forward(self, images: Tensor, indices: Tensor, number: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> the same, perturbed.

        Args:
            images: the images.
            indices: (B,) int64, their positions in the data set.
            number: () int64, number of the draw of noise.
        """
        pixels = full_precision(images) * self.std + self.mean
        raw = self.raw(pixels, indices, number * (len(self.blocks) + 1))
        with torch.autocast(images.device.type, enabled=False):
            delta = reverse_gradient(within_budget(raw, self.budget), self.loss_weight)
            changed = ((pixels + delta).clamp(0, 1) - self.mean) / self.std
        return changed.to(images.dtype)

    def raw(self, pixels: Tensor, indices: Tensor, number: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, 3, H, W), the ``raw`` input of :func:`within_budget`."""
        x = self.entry(_with_noise(pixels, indices, number))
        for i, block in enumerate(self.blocks):
            x = _with_noise(x, indices, number + i + 1)
            x = x + block(x)
        for layer in self.up:
            x = layer(F.interpolate(x, scale_factor=2.0, mode='nearest'))
        return self.exit(x)[..., : pixels.shape[2], : pixels.shape[3]]


def _with_noise(x: Tensor, indices: Tensor, number: Tensor) -> Tensor:
    """Add a channel of noise, uniform in [0, 1)."""
    bits = random_bits(indices, x.shape[2] * x.shape[3], number) & ((1 << _DIGITS) - 1)
    noise = (bits.to(x.dtype if x.dtype == torch.float64 else torch.float32) / (1 << _DIGITS)).to(x.dtype)
    return torch.cat([x, noise.view(len(x), 1, *x.shape[2:])], 1)
