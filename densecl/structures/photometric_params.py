"""``PhotometricParams``: the random parameters of the photometric augmentation of views."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

#: Weights of red, green and blue in the grey value: ITU-R 601, with the digits of torchvision.
GRAY_WEIGHTS = (0.2989, 0.587, 0.114)
_COLUMNS = {
    'order': (slice(0, 4), torch.int64),
    'factors': (slice(4, 8), torch.float32),
    'jitter': (8, torch.bool),
    'gray': (9, torch.bool),
    'sigma': (10, torch.float32),
    'solarize': (11, torch.float32),
    'gamma': (12, torch.float32),
    'noise': (13, torch.float32),
    'noise_seed': (14, torch.int64),
    'range_noise': (15, torch.float32),
    'salt_pepper': (16, torch.float32),
    'sobel': (17, torch.bool),
    'pixel_seed': (18, torch.int64),
}


@dataclass
class PhotometricParams:
    """The random parameters of a view's photometric augmentation, all in one array.

    ``values`` is a NumPy array, not a tensor. So it stays on the CPU, where reading it never waits for the
    device. A data worker sends it to the training process inside the message: it needs no shared memory and
    no file descriptor. Every parameter is also an attribute: a CPU tensor with the shape below, which has a
    first dimension B in a batch.

    Attributes:
        values: float64, (19,) for one view, (B, 19) for a batch.
        order: (4,) int64, the order in which brightness (0), contrast (1), saturation (2) and hue (3) change.
        factors: (4,) float32, factors of brightness, contrast and saturation (1 changes nothing), then the
            hue shift in turns, in [-0.5, 0.5].
        jitter: () bool, whether the colour jitter is applied at all.
        gray: () bool, whether the view becomes grey.
        sigma: () float32, standard deviation of the Gaussian blur in pixels; 0: no blur.
        solarize: () float32, pixels at or above this value (scale 0..255) are inverted; 256: none are.
        gamma: () float32, exponent of the values between black and white; 1 changes nothing.
        noise: () float32, standard deviation of the Gaussian noise, in units of each channel's standard
            deviation; 0: no noise.
        noise_seed: () int64, below 2^53, seed of this noise; -1 where the recipe has neither gamma nor noise.
        range_noise: () float32, standard deviation of a further Gaussian noise, in units of white - black;
            0: no noise.
        salt_pepper: () float32, share of the pixels that become white or black; 0: none.
        sobel: () bool, whether the view is replaced by the strength of its edges.
        pixel_seed: () int64, below 2^53, seed of ``range_noise`` and ``salt_pepper``; -1 where the recipe has
            neither these nor ``sobel``.
    """

    values: np.ndarray

    @classmethod
    def of(
        cls,
        order: list[int],
        factors: list[float],
        jitter: bool,
        gray: bool,
        sigma: float,
        solarize: float,
        gamma: float = 1.0,
        noise: float = 0.0,
        noise_seed: int = -1,
        range_noise: float = 0.0,
        salt_pepper: float = 0.0,
        sobel: bool = False,
        pixel_seed: int = -1,
    ) -> 'PhotometricParams':
        """The parameters of one view."""
        rest = jitter, gray, sigma, solarize, gamma, noise, noise_seed
        pixels = range_noise, salt_pepper, sobel, pixel_seed
        return cls(np.array([*order, *factors, *rest, *pixels], np.float64))

    def replaced(self, **changes: float) -> 'PhotometricParams':
        """A copy in which the named parameters have other values."""
        values = self.values.copy()
        for name, value in changes.items():
            values[..., _COLUMNS[name][0]] = value
        return PhotometricParams(values)

    def __getattr__(self, name: str) -> Tensor:
        if name not in _COLUMNS:
            raise AttributeError(f'PhotometricParams has {", ".join(_COLUMNS)} and values, not {name!r}')
        column, kind = _COLUMNS[name]
        return torch.as_tensor(self.values[..., column]).to(kind)
