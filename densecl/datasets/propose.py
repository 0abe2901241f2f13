"""Asks a provider for the proposals of a decoded image."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from densecl.structures import Proposals

from .unreadable import DataError


def propose(
    provider: Callable[[np.ndarray, str], Proposals], image: np.ndarray, image_id: str, path: str
) -> Proposals:
    """The proposals of an image, in its pixels.

    Args:
        provider: called with the image and its id. Its result may be for another size of the image
            (``Proposals.size``); it is then scaled.
        image: uint8 (H, W, 3), RGB, as decoded.
        image_id: the source's id of the image.
        path: name of the image for errors.

    Raises:
        DataError: the provider failed, or its proposals are for an image with another aspect ratio.
    """
    name = getattr(provider, '__name__', type(provider).__name__)
    where = f'{name} failed on {path} (image id {image_id!r})'
    try:
        proposals = provider(image, image_id)
    except Exception as error:
        raise DataError(f'{where}: {type(error).__name__}: {error}') from error
    if not isinstance(proposals, Proposals):
        raise DataError(f'{where}: it must return Proposals, got {type(proposals).__name__}')
    height, width = image.shape[:2]
    if not _same_shape(proposals.size, (height, width)):
        raise DataError(
            f'{where}: its proposals are of an image of {_text(proposals.size)} pixels, which '
            f'this one of {_text((height, width))} is no smaller or larger copy of; images are '
            'turned upright by their EXIF orientation before they are proposed for'
        )
    return at_size(proposals, (height, width))


def at_size(proposals: Proposals, size: tuple[int, int]) -> Proposals:
    """Scale the proposals to another height and width of the image.

    Masks are not changed, as their encoding has its own size.
    """
    if tuple(proposals.size) == tuple(size):
        return proposals
    scale = [size[1] / proposals.size[1], size[0] / proposals.size[0]] * 2
    boxes = (proposals.boxes * np.array(scale)).astype(np.float32)
    return replace(proposals, boxes=boxes, size=tuple(size))


def _same_shape(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether both sizes have the same aspect ratio, up to one pixel of rounding."""
    (height, width), (h, w) = size, other
    return min(height, width) > 0 and abs(height * w - width * h) <= max(height + width, h + w)


def _text(size: tuple[int, int]) -> str:
    return f'{size[1]} x {size[0]}'
