"""The recipe of a view's photometric augmentation; it draws the parameters."""

from dataclasses import dataclass

import numpy as np

from densecl.datasets.decode import Photo
from densecl.messages import check_choice
from densecl.structures import PhotometricParams

NO_SOLARIZE = 256.0
RGB_ONLY = ('saturation', 'hue', 'gray_prob', 'solarize_prob')
_DRAWS = 13  # 4 for the order, 4 factors, jitter or not, grey or not, blur or not, sigma, solarise or not
_MORE_DRAWS = 5  # gamma or not, its exponent, noise or not, its strength and seed
_PIXEL_DRAWS = 6  # noise or not, its strength, salt and pepper or not, their share, Sobel or not, the seed
_PROBABILITIES = ('jitter', 'gray', 'blur', 'solarize', 'gamma', 'noise', 'salt_pepper', 'sobel')


@dataclass
class Photometric:
    """Colour jitter, grey, Gaussian blur, solarise (MoCo v2, SimCLR, BYOL), gamma, noise, salt and pepper,
    Sobel filter, in this order.

    The defaults change nothing, so a recipe lists everything that it does. For images other than 8-bit RGB
    these are possible: brightness, contrast, gamma, noise and Sobel (per channel), blur, salt and pepper.

    Attributes:
        brightness: factor is uniform in [max(0, 1 - b), 1 + b], as in torchvision's ``ColorJitter``.
        contrast: the same for the contrast.
        saturation: the same for the saturation.
        hue: shift is uniform in [-hue, hue] turns; at most 0.5.
        jitter_prob: probability of the four above, which come in a random order.
        gray_prob: probability of a grey view.
        blur_prob: probability of the Gaussian blur.
        blur_sigma: lower and upper standard deviation of the blur in view pixels, uniform; at most 1000.
        solarize_prob: probability of inverting the values at or above ``solarize_threshold``.
        solarize_threshold: on the scale 0..255.
        gamma: the exponent of the values between black and white is log-uniform in
            [1 / (1 + gamma), 1 + gamma], the same for all channels.
        gamma_prob: probability of it.
        noise_sigma: lower and upper standard deviation of Gaussian noise, uniform, in ``noise_unit``.
        noise_prob: probability of it.
        noise_unit: ``std``: each channel's standard deviation (the data preprocessor's ``std``), without
            clamping. ``range``: white - black; 8-bit RGB is clamped (torchvision's ``GaussianNoise``).
        salt_pepper: lower and upper share of the pixels that become black or white in all channels, half of
            them each; uniform.
        salt_pepper_prob: probability of it.
        sobel_prob: probability of the Sobel filter: the length of each channel's gradient, divided by 4, so a
            vertical edge gets the value of its step. The image is mirrored at the border.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    jitter_prob: float = 0.0
    gray_prob: float = 0.0
    blur_prob: float = 0.0
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    solarize_prob: float = 0.0
    solarize_threshold: float = 128.0
    gamma: float = 0.0
    gamma_prob: float = 0.0
    noise_sigma: tuple[float, float] = (0.0, 0.1)
    noise_prob: float = 0.0
    noise_unit: str = 'std'
    salt_pepper: tuple[float, float] = (0.0, 0.05)
    salt_pepper_prob: float = 0.0
    sobel_prob: float = 0.0

    def __post_init__(self) -> None:
        for name in (f'{each}_prob' for each in _PROBABILITIES):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f'photometric.{name} must be in [0, 1], got {getattr(self, name)}')
        for name in ('brightness', 'contrast', 'saturation', 'gamma'):
            if getattr(self, name) < 0:
                raise ValueError(f'photometric.{name} must be >= 0, got {getattr(self, name)}')
        if not 0 <= self.hue <= 0.5:
            raise ValueError(f'photometric.hue must be in [0, 0.5] turns, got {self.hue}')
        low, high = self.blur_sigma
        if not 0 < low <= high <= 1000:
            raise ValueError(
                'photometric.blur_sigma must be (low, high) with 0 < low <= high <= 1000, '
                f'got {self.blur_sigma}'
            )
        low, high = self.noise_sigma
        if not 0 <= low <= high:
            raise ValueError(
                f'photometric.noise_sigma must be (low, high) with 0 <= low <= high, got {self.noise_sigma}'
            )
        low, high = self.salt_pepper
        if not 0 <= low <= high <= 1:
            raise ValueError(
                'photometric.salt_pepper must be (low, high) with 0 <= low <= high <= 1, '
                f'got {self.salt_pepper}'
            )
        check_choice('photometric.noise_unit', self.noise_unit, ('std', 'range'))
        strength = np.array([self.brightness, self.contrast, self.saturation])
        self._low = np.append(np.maximum(1 - strength, 0), -self.hue)
        self._span = np.append(1 + strength, self.hue) - self._low

    def check_images(self, channels: int, dtype: str | None) -> None:
        """Refuse operators that need RGB colours; ``dtype`` is None if it is not known yet."""
        if channels == 3 and dtype in (None, 'uint8'):
            return
        for name in RGB_ONLY:
            if getattr(self, name):
                raise ValueError(
                    f'photometric.{name}={getattr(self, name)} is for 8-bit RGB only, the images have '
                    f'{channels} channels ({dtype or "any depth"}): set photometric.{name}=0'
                )

    def draw(self, rng: np.random.Generator) -> PhotometricParams:
        """Draw one view's parameters; the number of values taken from ``rng`` depends only on the recipe."""
        u = rng.random(_DRAWS)
        jitter, gray, blur, sigma, solarize = u[8:].tolist()
        low, high = self.blur_sigma
        return PhotometricParams.of(
            u[:4].argsort().tolist(),
            (self._low + u[4:8] * self._span).tolist(),
            jitter < self.jitter_prob,
            gray < self.gray_prob,
            low + sigma * (high - low) if blur < self.blur_prob else 0.0,
            self.solarize_threshold if solarize < self.solarize_prob else NO_SOLARIZE,
            *self._draw_more(rng),
            *self._draw_pixels(rng),
        )

    def _draw_more(self, rng: np.random.Generator) -> tuple[float, float, int]:
        """Draw gamma, noise and its seed; recipes without them draw nothing."""
        noise_prob = self.noise_prob if self.noise_unit == 'std' else 0.0
        if not (self.gamma_prob or noise_prob):
            return 1.0, 0.0, -1
        apply, exponent, add, strength, fraction = rng.random(_MORE_DRAWS).tolist()
        low, high = self.noise_sigma
        gamma = (1 + self.gamma) ** (2 * exponent - 1) if apply < self.gamma_prob else 1.0
        sigma = low + strength * (high - low) if add < noise_prob else 0.0
        return gamma, sigma, int(fraction * 2**53)

    def _draw_pixels(self, rng: np.random.Generator) -> tuple[float, float, bool, int]:
        """Draw noise in units of the range, salt and pepper, Sobel, and their seed; or nothing, likewise."""
        noise_prob = self.noise_prob if self.noise_unit == 'range' else 0.0
        if not (noise_prob or self.salt_pepper_prob or self.sobel_prob):
            return 0.0, 0.0, False, -1
        add, strength, scatter, amount, edges, fraction = rng.random(_PIXEL_DRAWS).tolist()
        (low, high), (few, many) = self.noise_sigma, self.salt_pepper
        sigma = low + strength * (high - low) if add < noise_prob else 0.0
        share = few + amount * (many - few) if scatter < self.salt_pepper_prob else 0.0
        return sigma, share, edges < self.sobel_prob, int(fraction * 2**53)


def is_rgb(image: np.ndarray | Photo) -> bool:
    """Whether an image (H, W, C) has 8-bit colours."""
    return image.dtype == np.uint8 and image.shape[2] == 3
