"""The colours of an image as bins of the a-b plane of CIELAB (colorization)."""

import functools
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from densecl.colors import lab_to_rgb, rgb_to_lab
from densecl.compat import load_checkpoint
from densecl.numerics import full_precision, no_autocast
from densecl.registry import MODELS

from .photos import PhotoTarget

_DIRECTIONS = 3600


@functools.cache
def gamut_bins(step: float = 10.0) -> Tensor:
    """a and b of the bins for all colours of sRGB, (K, 2) float32, sorted by a, then b.

    The a-b plane has a grid of squares with side ``step``. The bins are the corners of all squares that the
    convex hull of the gamut touches. A step of 10 gives the 313 points of the official file of Zhang et al.
    (2016).
    """
    ramp, ends = torch.linspace(0, 1, 256, dtype=torch.float64), torch.tensor([0.0, 1.0]).double()
    edge = torch.cartesian_prod(ramp, ends, ends)  # edges of the RGB cube along red; rolled for the others
    rgb = torch.cat([edge.roll(k, 1) for k in range(3)])
    ab = rgb_to_lab(rgb.T[..., None])[1:, :, 0].T
    angles = torch.arange(_DIRECTIONS).double() * (2 * math.pi / _DIRECTIONS)
    ways = torch.stack([angles.cos(), angles.sin()])
    reach = (ab @ ways).amax(0)  # how far the hull extends in each direction
    lines = step * torch.arange(-math.ceil(128 / step), math.ceil(128 / step) + 1).double()
    corners = torch.cartesian_prod(lines, lines)
    along = (corners @ ways).view(len(lines), len(lines), -1)
    nearest = torch.stack(
        [along[i : len(lines) - 1 + i, j : len(lines) - 1 + j] for i in (0, 1) for j in (0, 1)]
    )
    touched = (nearest.amin(0) < reach).all(-1)  # there is no direction in which the square is outside
    chosen = F.max_pool2d(F.pad(touched[None].double(), (1, 1, 1, 1)), 2, stride=1) > 0
    return corners[chosen.flatten()].float()


@torch.no_grad()
@no_autocast
def soft_bins(ab: Tensor, bins: Tensor, neighbours: int = 10, sigma: float = 5.0) -> tuple[Tensor, Tensor]:
    """Each colour as shares of its nearest bins, by a Gaussian of their distance (soft encoding).

    Args:
        ab: (B, 2, h, w), a and b.
        bins: (K, 2), a and b.
        neighbours: number of nearest bins that get a share.
        sigma: standard deviation of the Gaussian, in units of a and b.

    Returns:
        (B, K, h, w), shares with sum 1 over K; and (B, h, w) int64, the nearest bin.
    """
    colors = full_precision(ab).permute(0, 2, 3, 1)
    bins = bins.to(colors.dtype)
    # |c - b|^2 without |c|^2, which is the same for all bins of a colour
    near, index = (bins.square().sum(1) - 2 * colors @ bins.T).topk(neighbours, largest=False)
    shares = (-near / (2 * sigma**2)).softmax(-1)
    full = shares.new_zeros(*shares.shape[:3], len(bins)).scatter_(-1, index, shares)
    return full.permute(0, 3, 1, 2), index[..., 0]


def rebalanced(prior: Tensor, uniform: float = 0.5) -> Tensor:
    """Weights of the bins from their shares ``prior``, (K,) -> (K,); rare bins get larger weights.

    They are proportional to 1 / ((1 - u) prior + u / K) with u = ``uniform``. Their mean over the prior is 1.
    """
    weights = 1 / ((1 - uniform) * prior + uniform / len(prior))
    return weights / (prior * weights).sum()


@no_autocast
def annealed_mean(logits: Tensor, bins: Tensor, temperature: float = 0.38) -> Tensor:
    """Mean of the bins by ``softmax(logits / temperature)``: (B, K, h, w) -> (B, 2, h, w), a and b."""
    shares = (full_precision(logits) / temperature).softmax(1)
    return torch.einsum('bkhw,kc->bchw', shares, bins.to(shares.dtype))


@MODELS.register_module()
class ColorBins(PhotoTarget):
    """(B, 3, H, W) images -> one level (B, K, H / p, W / p): the shares of K = 313 colour bins in each cell.

    Colorful image colorization (Zhang et al., ECCV 2016). The shares of a cell sum to the weight of its
    nearest bin; :class:`~densecl.models.losses.SoftCrossEntropy` multiplies the cell's gradient by this sum.
    In images without colour all shares are 0, so these images do not count. The colour of a cell is that of
    its middle pixel.

    ``tools/make_color_prior.py CONFIG`` makes the file. A training reads it when it starts or resumes.
    Checkpoints contain it.

    Args:
        patch: side p of a cell in pixels.
        neighbours, sigma: see :func:`soft_bins`.
        gray: an image has no colour if \\|a\\| and \\|b\\| are at most this in all cells.
        file: the frequencies of the colours; rare colours get larger weights. None: all weights are 1.
        uniform: share of the uniform distribution in the prior, in (0, 1], see :func:`rebalanced`.
        temperature: only for showing predicted colours, see :func:`annealed_mean`.
    """

    def __init__(
        self,
        patch: int = 4,
        neighbours: int = 10,
        sigma: float = 5.0,
        gray: float = 5.0,
        file: str | None = None,
        uniform: float = 0.5,
        temperature: float = 0.38,
    ) -> None:
        super().__init__()
        if not 0 < uniform <= 1:  # with 0, a bin that no image has would get an infinite weight
            raise ValueError(f'ColorBins: uniform must be a share in (0, 1], got {uniform!r}')
        self.patch, self.neighbours, self.sigma, self.gray = patch, neighbours, sigma, gray
        self.file, self.uniform, self.temperature = file, uniform, temperature
        self.register_buffer('bins', gamut_bins().clone(), persistent=False)
        self.register_buffer('prior', torch.full((len(self.bins),), 1 / len(self.bins)))

    def init_weights(self) -> None:
        """Read the file.

        Raises:
            FileNotFoundError: the file does not exist.
        """
        if self.file is None:
            return
        if not Path(self.file).is_file():
            raise FileNotFoundError(
                f'ColorBins: {self.file} does not exist; make it: python tools/make_color_prior.py CONFIG, '
                'or set file=None for no rebalancing'
            )
        self.load_state_dict(load_checkpoint(self.file)['state_dict'])

    def shares(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Shares (B, K, h, w), nearest bins (B, h, w), and which images have colours, (B,) bool.

        Raises:
            ValueError: a side of the images is not a multiple of the patch.
        """
        if images.shape[2] % self.patch or images.shape[3] % self.patch:
            raise ValueError(
                f'ColorBins: cells of {self.patch} px do not fill images of {images.shape[2]} x '
                f'{images.shape[3]} px'
            )
        middle = images[:, :, self.patch // 2 :: self.patch, self.patch // 2 :: self.patch]
        ab = rgb_to_lab((self.pixels(middle) / 255).clamp(0, 1))[:, 1:]
        return *soft_bins(ab, self.bins, self.neighbours, self.sigma), (ab.abs() > self.gray).flatten(1).any(
            1
        )

    def forward(self, images: Tensor) -> tuple[Tensor]:
        shares, nearest, colored = self.shares(images)
        weights = rebalanced(self.prior, self.uniform)[nearest] * colored[:, None, None]
        return (shares * weights[:, None],)

    def images(self, prediction: Tensor, images: Tensor) -> Tensor:
        """Logits (B, K, h, w) -> images (B, 3, H, W) with predicted colours and the images' lightness."""
        size = images.shape[2:]
        ab = F.interpolate(annealed_mean(prediction, self.bins, self.temperature), size, mode='bilinear')
        lightness = rgb_to_lab((self.pixels(images) / 255).clamp(0, 1))[:, :1]
        rgb = lab_to_rgb(torch.cat([lightness, ab], 1)).clamp(0, 1)
        return (255 * rgb - self.image_mean) / self.image_std
