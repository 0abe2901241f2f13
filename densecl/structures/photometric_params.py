"""``PhotometricParams``: what was drawn for the photometric augmentation of views."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

#: Red, green and blue in the grey of an image: ITU-R 601, digits as in torchvision.
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
    """The drawn parameters of a view's photometric augmentation, all in one array.

    It is no tensor: it stays on the CPU, where reading it waits for nothing, and goes from a data worker to
    the training process within the message, without shared memory and its file descriptors. The parameters
    are attributes, CPU tensors with the shapes below, or with B in front.

    Attributes:
        values: float64 (19,) of one view, (B, 19) of a batch.
        order: (4,) int64, the order of brightness (0), contrast (1), saturation (2) and hue (3).
        factors: (4,) float32, brightness, contrast and saturation factors (1 changes nothing) and the hue
            shift in turns, [-0.5, 0.5].
        jitter: () bool, whether the colour jitter is applied at all.
        gray: () bool, whether the view becomes grey.
        sigma: () float32, standard deviation of the Gaussian blur in pixels; 0 is no blur.
        solarize: () float32, pixels at or above this value (0..255 scale) are inverted; 256 is none.
        gamma: () float32, exponent of the values between black and white; 1 changes nothing.
        noise: () float32, standard deviation of the Gaussian noise in units of each channel's; 0 is none.
        noise_seed: () int64, below 2^53, of the generator of the noise; -1 where the recipe has neither gamma
            nor noise.
        range_noise: () float32, standard deviation of Gaussian noise in units of white - black; 0 is none.
        salt_pepper: () float32, share of the pixels that become white or black; 0 is none.
        sobel: () bool, whether the view becomes the strength of its edges.
        pixel_seed: () int64, below 2^53, of the last three; -1 where the recipe has none of them.
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
        """Those of one view."""
        rest = jitter, gray, sigma, solarize, gamma, noise, noise_seed
        pixels = range_noise, salt_pepper, sobel, pixel_seed
        return cls(np.array([*order, *factors, *rest, *pixels], np.float64))

    def replaced(self, **changes: float) -> 'PhotometricParams':
        """A copy with other values of the parameters that are named."""
        values = self.values.copy()
        for name, value in changes.items():
            values[..., _COLUMNS[name][0]] = value
        return PhotometricParams(values)

    def __getattr__(self, name: str) -> Tensor:
        if name not in _COLUMNS:
            raise AttributeError(f'PhotometricParams has {", ".join(_COLUMNS)} and values, not {name!r}')
        column, kind = _COLUMNS[name]
        return torch.as_tensor(self.values[..., column]).to(kind)
