"""Graph segmentation of an image, and the segments as proposals with masks.

Felzenszwalb & Huttenlocher, Efficient graph-based image segmentation, IJCV 59(2), 2004: pixels are nodes,
8-neighbours are joined by edges of their colour distance, and components merge along edges of rising
weight as long as the edge is not heavier than what the two have inside plus ``scale / size``.
"""

import importlib
from types import ModuleType

import cv2
import numpy as np

from densecl.registry import PROPOSALS
from densecl.structures.proposals import Proposals


def felzenszwalb(
    image: np.ndarray,
    scale: float = 100.0,
    sigma: float = 0.8,
    min_size: int = 20,
    connectivity: int = 8,
) -> np.ndarray:
    """Segment an image. The same input gives the same labels.

    Args:
        image: uint8 RGB (H, W, 3), or float32 (H, W, C) with any number of channels.
        scale: the paper's k, in units of the image's values: the larger, the larger the segments.
        sigma: standard deviation of the Gaussian that smooths the image first, px; 0 does not.
        min_size: segments of fewer pixels join the neighbour across the lightest edge.
        connectivity: 8, the paper's, or 4, which leaves out diagonal neighbours and takes half the time.

    Returns:
        int32 (H, W), labels 0 .. S - 1 in the order in which a scan by rows meets the segments, each
        of which is connected.

    Raises:
        TypeError: another dtype.
        ValueError: another shape, no pixels, values that are not finite, or a setting out of range.
    """
    check_image(image)
    check_settings(scale, sigma, min_size)
    if connectivity not in (4, 8):
        raise ValueError(f'connectivity: expected 4 or 8, got {connectivity}')
    graph = kernels('graph_kernels')
    weights, edges = graph.sorted_edges(smooth(image, sigma), connectivity == 8)
    return graph.segment(*image.shape[:2], weights, edges, float(scale), int(min_size))[0]


def smooth(image: np.ndarray, sigma: float) -> np.ndarray:
    """The image as float32 (H, W, C), smoothed by a Gaussian of ``sigma`` pixels."""
    image = np.ascontiguousarray(image, np.float32)
    if sigma == 0:
        return image
    return cv2.GaussianBlur(image, (0, 0), sigma).reshape(image.shape)


def kernels(name: str) -> ModuleType:
    """A module of compiled functions; numba is needed only from here on.

    Raises:
        ModuleNotFoundError: numba is not installed.
    """
    try:
        return importlib.import_module(f'densecl.proposals.{name}')
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split('.')[0] != 'numba':
            raise
        raise ModuleNotFoundError(
            'graph segmentation and selective search are compiled by numba, which is not installed: '
            "pip install 'densecl[proposals]'",
            name='numba',
        ) from error


def check_image(image: np.ndarray) -> None:
    """Refuse what is not uint8 (H, W, 3) or finite float32 (H, W, C)."""
    if not isinstance(image, np.ndarray) or image.dtype not in (np.uint8, np.float32):
        came = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
        raise TypeError(f'image: expected an array of uint8 or float32, got {came}')
    if image.ndim != 3 or 0 in image.shape or (image.dtype == np.uint8 and image.shape[2] != 3):
        expected = '(H, W, 3)' if image.dtype == np.uint8 else '(H, W, C)'
        raise ValueError(f'image: expected {image.dtype} {expected}, not empty, got {image.shape}')
    if image.dtype == np.float32 and not np.isfinite(image).all():
        raise ValueError('image: some values are not finite')


def check_settings(scale: float, sigma: float, min_size: int) -> None:
    """Refuse settings out of range."""
    if not scale > 0:
        raise ValueError(f'scale: expected more than 0, got {scale}')
    if not sigma >= 0:
        raise ValueError(f'sigma: expected 0 or more pixels, got {sigma}')
    if not min_size >= 0:
        raise ValueError(f'min_size: expected 0 or more pixels, got {min_size}')


def shrink(image: np.ndarray, short_side: int | None) -> np.ndarray:
    """The image with a short side of at most ``short_side`` pixels, by area averaging; None leaves it."""
    height, width = image.shape[:2]
    if short_side is None or min(height, width) <= short_side:
        return image
    factor = short_side / min(height, width)
    size = round(width * factor), round(height * factor)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


@PROPOSALS.register_module()
class Felzenszwalb:
    """The segments of an image as proposals with masks; together the masks cover the image once.

    The defaults are DetCon's (Hénaff et al. 2021, section 3.1).

    Args:
        scale, sigma, min_size: see :func:`felzenszwalb`; of the shrunk image where ``short_side`` says so.
        short_side: first shrink larger images to this short side; masks and boxes are scaled back.

    Raises:
        ModuleNotFoundError: when called without numba or pycocotools.
    """

    def __init__(
        self,
        scale: float = 1000.0,
        sigma: float = 0.8,
        min_size: int = 1000,
        short_side: int | None = None,
    ) -> None:
        check_settings(scale, sigma, min_size)
        self.scale, self.sigma, self.min_size = scale, sigma, min_size
        self.short_side = short_side

    def __call__(self, image: np.ndarray, image_id: str) -> Proposals:
        """Segment an uint8 RGB (H, W, 3) image; ids are the labels."""
        height, width = image.shape[:2]
        small = shrink(image, self.short_side)
        labels = felzenszwalb(small, self.scale, self.sigma, self.min_size)
        if small is not image:
            labels = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
        masks = [_encode(labels == label) for label in range(labels.max() + 1)]
        return Proposals(_boxes(labels), (height, width), masks=masks)


def _encode(mask: np.ndarray) -> dict:
    """A bool (H, W) mask as compressed COCO run-length encoding."""
    try:
        from pycocotools import mask as coco
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "masks are stored by pycocotools, which is not installed: pip install 'densecl[proposals]'",
            name='pycocotools',
        ) from error
    return coco.encode(np.asfortranarray(mask, np.uint8))


def _boxes(labels: np.ndarray) -> np.ndarray:
    """Bounding boxes of the labels, float32 (S, 4), ends exclusive."""
    y, x = np.divmod(np.arange(labels.size), labels.shape[1])
    flat, count = labels.ravel(), labels.max() + 1
    low = np.full((2, count), labels.size)
    high = np.zeros((2, count), int)
    for axis, position in enumerate((x, y)):
        np.minimum.at(low[axis], flat, position)
        np.maximum.at(high[axis], flat, position + 1)
    return np.concatenate([low, high]).T.astype(np.float32)
