"""Photometric augmentation of one uint8 view in a data worker.

The parameters and operators are those of ``densecl.models.data_preprocessors.photometric``, which applies
them to whole batches on the device. Here every operator rounds to uint8. One operator differs from the float
version by at most 1/255; a whole chain by 0.3/255 on average, and by a few levels at most.
"""

import math

import cv2
import numpy as np

from densecl.structures import PhotometricParams
from densecl.structures.photometric_params import GRAY_WEIGHTS

_LEVELS = np.arange(256, dtype=np.uint8)
_GRAY_MATRIX = np.tile(np.array(GRAY_WEIGHTS), (3, 1))


def apply_photometric_uint8(image: np.ndarray, params: PhotometricParams) -> np.ndarray:
    """Apply one view's parameters.

    Args:
        image: uint8 (H, W, 3), RGB.
        params: unbatched parameters.

    Returns:
        uint8 (H, W, 3).
    """
    if params.jitter:
        factors = params.factors.tolist()
        for op in params.order.tolist():
            image = _OPERATORS[op](image, factors[op])
    if params.gray:
        image = gray(image)
    sigma, threshold = float(params.sigma), float(params.solarize)
    if sigma > 0:
        image = blur(image, sigma)
    image = solarize(image, threshold) if threshold < 256 else image
    seed = int(params.pixel_seed)
    return image if seed < 0 else _pixel_operators(image, params, seed)


def _pixel_operators(image: np.ndarray, params: PhotometricParams, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    sigma, share = float(params.range_noise), float(params.salt_pepper)
    if sigma > 0:
        image = add_noise(image, sigma, rng)
    if share > 0:
        image = salt_and_pepper(image, share, rng)
    return sobel(image) if params.sobel else image


def brightness(image: np.ndarray, factor: float) -> np.ndarray:
    """Multiply by ``factor``."""
    return cv2.convertScaleAbs(image, alpha=factor)


def contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """Blend with the mean of the grey image."""
    mean = float(np.dot(cv2.mean(image)[:3], GRAY_WEIGHTS))
    return cv2.addWeighted(image, factor, image, 0, (1 - factor) * mean)


def saturation(image: np.ndarray, factor: float) -> np.ndarray:
    """Blend with the grey image."""
    return cv2.transform(image, factor * np.eye(3) + (1 - factor) * _GRAY_MATRIX)


def hue(image: np.ndarray, shift: float) -> np.ndarray:
    """Rotate the hue by ``shift`` (1 is a full turn), in float, as 8-bit HSV would be too coarse."""
    hsv = cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2HSV)
    # OpenCV wraps angles above 360 degrees, but not angles below 0.
    hsv = cv2.add(hsv, (360 * (shift % 1), 0, 0, 0), dst=hsv)
    return cv2.convertScaleAbs(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB, dst=hsv))


def gray(image: np.ndarray) -> np.ndarray:
    """Grey in three equal channels."""
    return cv2.transform(image, _GRAY_MATRIX)


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur, mirrored at the border; the kernel reaches 4 sigma."""
    size = 2 * math.ceil(4 * sigma) + 1
    kernel = cv2.getGaussianKernel(size, sigma, cv2.CV_32F)
    # Twice as fast as cv2.GaussianBlur, and exact: cv2's kernel has only 8 bits for 8-bit images.
    return cv2.sepFilter2D(image, cv2.CV_8U, kernel, kernel, borderType=cv2.BORDER_REFLECT_101)


def solarize(image: np.ndarray, threshold: float) -> np.ndarray:
    """Invert the values at or above ``threshold``."""
    return cv2.LUT(image, np.where(threshold <= _LEVELS, 255 - _LEVELS, _LEVELS))


def add_noise(image: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Add Gaussian noise with a standard deviation of ``sigma`` times 255."""
    noise = rng.standard_normal(image.shape, np.float32)
    return np.rint(image + 255 * sigma * noise).clip(0, 255).astype(np.uint8)


def salt_and_pepper(image: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Make a ``share`` of the pixels black or white, with equal probability."""
    drawn = rng.random(image.shape[:2], np.float32)[:, :, None]
    return np.where(drawn < share / 2, np.uint8(0), np.where(drawn < share, np.uint8(255), image))


def sobel(image: np.ndarray) -> np.ndarray:
    """A quarter of the length of each channel's Sobel gradient."""
    across, down = cv2.Sobel(image, cv2.CV_32F, 1, 0), cv2.Sobel(image, cv2.CV_32F, 0, 1)
    # Not cv2.magnitude: its last bit depends on the arrays' place in memory. These squares are exact.
    length = np.sqrt(across * across + down * down)
    return cv2.convertScaleAbs(length, alpha=0.25)


_OPERATORS = (brightness, contrast, saturation, hue)
