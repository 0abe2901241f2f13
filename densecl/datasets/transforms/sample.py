"""Turns drawn views into the sample that a data worker returns."""

import numpy as np
import torch
from torch import Tensor

from densecl.datasets.bands import DEPTHS
from densecl.datasets.decode import Photo
from densecl.structures import BatchMask, Corruption, PhotometricParams, PretrainDataSample, ViewRegions

from .drawn import DrawnView, make_pixels
from .photometric import NO_SOLARIZE, is_rgb
from .photometric_uint8 import apply_photometric_uint8


def make_sample(
    results: dict,
    drawn: list[DrawnView],
    photometric_on: str = 'device',
    regions: dict[str, list[ViewRegions | None]] | None = None,
    cutouts: list[Tensor | None] | None = None,
) -> PretrainDataSample:
    """Put views in a sample.

    Args:
        results: the transform's input; ``index``, ``path``, ``label``, ``source_size``, ``maps`` and
            ``tokens`` are used if present.
        drawn: the V views. If the photo is not decoded yet, they must come from :func:`fit_to_photo`.
        photometric_on: ``device`` leaves the parameters in the sample. ``worker`` applies them to 8-bit RGB;
            it leaves to the device gamma, noise in units of ``std``, all operators after these, and all
            parameters of other images.
        regions: name -> V entries, the regions of this name in the views.
        cutouts: V entries, each the boxes to erase or None; or None.
    """
    pixels = make_pixels(results['image'], drawn, results.get('generated'))
    photometric = [view.photometric for view in drawn]
    if photometric_on == 'worker':
        pairs = [_recoloured(*pair) for pair in zip(pixels, photometric, strict=True)]
        pixels, photometric = map(list, zip(*pairs, strict=True))
    shape = results['image'].shape[:2]
    source_size = tuple(results.get('source_size', shape))
    return PretrainDataSample(
        images=[torch.from_numpy(image) for image in pixels],
        boxes=_to_source([view.box for view in drawn], shape, source_size),
        flipped=torch.tensor([view.flipped for view in drawn]),
        source_size=source_size,
        index=results.get('index', -1),
        path=results.get('path', ''),
        photometric=photometric,
        label=results.get('label'),
        regions=regions or {},
        cutouts=cutouts,
        masks=_masks(drawn),
        asked=_asked(drawn),
        corruptions=_corruptions(drawn),
        answers=_answers(drawn),
        maps=results.get('maps', {}),
        tokens=results.get('tokens'),
        warps=_warps(drawn),
        generated=tuple(number for number, view in enumerate(drawn) if view.generated),
        score=results.get('score'),
    )


def checked_image(results: dict, transform: str) -> np.ndarray | Photo:
    """Check and return the image: uint8 (H, W, 3), a photo, or the output of a decoder of bands.

    The key ``channels`` says that the data set has such a decoder.
    """
    image = results['image']
    if isinstance(image, Photo):
        return image
    if 'channels' in results:
        return _checked_bands(image, results)
    if not (isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3):
        got = f'{getattr(image, "dtype", type(image).__name__)} {getattr(image, "shape", "")}'
    elif image.shape[2] != 3 or image.size == 0:
        got = f'shape {image.shape}'
    else:
        return image
    raise ValueError(
        f"{transform} needs results['image'] as a non-empty uint8 (H, W, 3) RGB array, got {got} "
        f'for {results.get("path", "an image without path")!r}; decode it to 8-bit RGB first, or set '
        "dataset.decoder=dict(type='SensorDecoder', channels=...)"
    )


def _checked_bands(image: np.ndarray, results: dict) -> np.ndarray:
    expected = results['channels']
    if image.ndim == 3 and image.shape[2] == expected and image.size and image.dtype.name in DEPTHS:
        return image
    raise ValueError(
        f'{results.get("path")!r}: expected a non-empty (H, W, {expected}) array of one of {DEPTHS}, '
        f'got {image.dtype} {image.shape}'
    )


def _recoloured(
    image: np.ndarray, params: PhotometricParams | None
) -> tuple[np.ndarray, PhotometricParams | None]:
    """Apply parameters to the view; return it with the parameters that are left to the device."""
    if params is None or not is_rgb(image):
        return image, params
    if params.noise_seed < 0:
        return apply_photometric_uint8(image, params), None
    # The device applies gamma, noise in units of the data's standard deviation, and all that comes after.
    left = params.replaced(jitter=False, gray=False, sigma=0.0, solarize=NO_SOLARIZE)
    return apply_photometric_uint8(image, params.replaced(pixel_seed=-1)), left


def _masks(drawn: list[DrawnView]) -> list[Tensor | BatchMask | None] | None:
    if all(view.mask is None for view in drawn):
        return None
    found = [view.mask for view in drawn]
    return [torch.from_numpy(mask) if isinstance(mask, np.ndarray) else mask for mask in found]


def _asked(drawn: list[DrawnView]) -> list[Tensor | None] | None:
    if all(view.asked is None for view in drawn):
        return None
    return [None if view.asked is None else torch.from_numpy(view.asked) for view in drawn]


def _warps(drawn: list[DrawnView]) -> list[Tensor | None] | None:
    found = [view.warp for view in drawn]
    return None if all(warp is None for warp in found) else [w if w is None else w.float() for w in found]


def _corruptions(drawn: list[DrawnView]) -> list[Corruption | None] | None:
    found = [view.corruption for view in drawn]
    return None if all(each is None for each in found) else found


def _answers(drawn: list[DrawnView]) -> Tensor | None:
    if all(view.answer is None for view in drawn):
        return None
    return torch.tensor([-1 if view.answer is None else view.answer for view in drawn])


def _to_source(
    boxes: list[tuple[float, float, float, float]],
    shape: tuple[int, int],
    source_size: tuple[int, int],
) -> Tensor:
    """Boxes of the decoded image in pixels of the original, (V, 4)."""
    scale_y, scale_x = source_size[0] / shape[0], source_size[1] / shape[1]
    scale = np.array([scale_x, scale_y] * 2, np.float32)
    return torch.from_numpy(np.array(boxes, np.float32) * scale)
