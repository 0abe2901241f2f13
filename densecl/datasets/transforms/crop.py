"""Random resized crop of images of any bit depth; the box comes from the sample's own generator."""

import math

import cv2
import numpy as np
import torch
import torch.nn.functional as F

_TRIES = 10
_OPENCV_CHANNELS = 128  # the maximum of OpenCV 5
INTERPOLATIONS = ('bilinear', 'bicubic')


def sample_crop(
    rng: np.random.Generator,
    height: int,
    width: int,
    scale: tuple[float, float] = (0.2, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> tuple[int, int, int, int]:
    """Draw the box of a random resized crop.

    Area and aspect ratio are drawn up to ten times until the box fits. If none fits, the largest centred box
    within ``ratio`` is taken (Szegedy et al., Going Deeper with Convolutions, section 6; the same rule as
    ``torchvision.transforms.RandomResizedCrop.get_params``). The number of values drawn from ``rng`` does not
    depend on the image.

    Args:
        rng: source of the randomness.
        height: height of the image in pixels.
        width: width of the image in pixels.
        scale: lower and upper share of the image's area, uniform.
        ratio: lower and upper aspect ratio (width / height), log-uniform.

    Returns:
        x1, y1, x2, y2: integer corners, x2 and y2 exclusive.
    """
    draws = rng.random(2 * _TRIES + 2).tolist()
    log_low, log_high = math.log(ratio[0]), math.log(ratio[1])
    for k in range(0, 2 * _TRIES, 2):
        area = height * width * (scale[0] + (scale[1] - scale[0]) * draws[k])
        aspect = math.exp(log_low + (log_high - log_low) * draws[k + 1])
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            x, y = int(draws[-2] * (width - w + 1)), int(draws[-1] * (height - h + 1))
            return x, y, x + w, y + h
    return _centre_crop(height, width, ratio)


def _centre_crop(height: int, width: int, ratio: tuple[float, float]) -> tuple[int, int, int, int]:
    w, h = width, height
    if width / height < ratio[0]:
        h = max(1, min(height, round(width / ratio[0])))
    elif width / height > ratio[1]:
        w = max(1, min(width, round(height * ratio[1])))
    x, y = (width - w) // 2, (height - h) // 2
    return x, y, x + w, y + h


def resize_crop(
    image: np.ndarray,
    box: tuple[int, int, int, int],
    size: tuple[int, int],
    interpolation: str = 'bilinear',
    flip: bool = False,
) -> np.ndarray:
    """Cut ``box`` out of an image, resize it with antialiasing and mirror it.

    For uint8 images the result differs from torchvision's and Pillow's by at most 1/255 (bicubic: some pixels
    by 2/255). uint8 stays uint8 with the channels last: there is no conversion to float and no transpose,
    which saves time. uint16 is resized in float32 and rounded.

    Args:
        image: (H, W, C), uint8, uint16 or float32.
        box: x1, y1, x2, y2, integers inside the image.
        size: height and width of the result in pixels.
        interpolation: ``bilinear`` or ``bicubic``.
        flip: mirror left to right.

    Returns:
        (height, width, C) of the same type, contiguous; never shares memory with ``image``.
    """
    x1, y1, x2, y2 = box
    crop = image[y1:y2, x1:x2]
    early = flip and (y2 - y1) * (x2 - x1) < size[0] * size[1]  # flip before or after: the smaller image
    if early:
        crop = _mirrored(crop)
    view = _resize(crop, size, interpolation)
    return _mirrored(view) if flip and not early else view


def _mirrored(image: np.ndarray) -> np.ndarray:
    if image.shape[2] > _OPENCV_CHANNELS:
        return np.ascontiguousarray(image[:, ::-1])
    mirrored = cv2.flip(image, 1)
    return mirrored if mirrored.ndim == 3 else mirrored[:, :, None]  # OpenCV drops the axis of one channel


def _resize(crop: np.ndarray, size: tuple[int, int], interpolation: str) -> np.ndarray:
    height, width = crop.shape[:2]
    if (height, width) == size:
        return crop.copy()
    enlarges = height <= size[0] and width <= size[1]
    if interpolation == 'bilinear' and enlarges and crop.shape[2] <= _OPENCV_CHANNELS:
        # Enlarging needs no antialiasing, and OpenCV is 1.6 times as fast at it.
        view = cv2.resize(crop, size[::-1], interpolation=cv2.INTER_LINEAR)
        return view if view.ndim == 3 else view[:, :, None]
    if crop.dtype == np.uint16:  # torch cannot resize uint16
        view = _antialiased(crop.astype(np.float32), size, interpolation)
        return np.rint(view).clip(0, 65535).astype(np.uint16)
    crop = crop if crop.flags.writeable else crop.copy()  # torch warns of read-only arrays
    return _antialiased(crop, size, interpolation)


def _antialiased(crop: np.ndarray, size: tuple[int, int], interpolation: str) -> np.ndarray:
    # (1, C, h, w), channels last in memory. The new axis must be added before the permutation. Otherwise
    # torch does not recognise the layout and resizes plane by plane, in at least twice the time.
    planes = torch.from_numpy(crop)[None].permute(0, 3, 1, 2)
    planes = F.interpolate(planes, size, mode=interpolation, antialias=True)
    return np.ascontiguousarray(planes[0].permute(1, 2, 0).numpy())
