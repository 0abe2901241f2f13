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


def check_short_side(short_side: int | None) -> None:
    """Refuse a short side without pixels."""
    if short_side is not None and not short_side >= 1:
        raise ValueError(
            f'short_side: expected at least 1 pixel, or None for images at their own size, got {short_side}'
        )


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
        ValueError: a setting out of range.
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
        check_short_side(short_side)
        self.scale, self.sigma, self.min_size = scale, sigma, min_size
        self.short_side = short_side

    def __call__(self, image: np.ndarray, image_id: str) -> Proposals:
        """Segment an uint8 RGB (H, W, 3) image; ids are the labels."""
        height, width = image.shape[:2]
        small = shrink(image, self.short_side)
        labels = felzenszwalb(small, self.scale, self.sigma, self.min_size)
        if small is not image:
            labels = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
        boxes, masks = describe_labels(labels)
        return Proposals(boxes, (height, width), masks=masks)


def describe_labels(labels: np.ndarray) -> tuple[np.ndarray, list[dict]]:
    """Bounding boxes and masks of a label map, in one pass over it.

    Args:
        labels: (H, W) integers; each of 0 .. S - 1 occurs.

    Returns:
        boxes float32 (S, 4), ends exclusive, and S compressed COCO run-length encodings.
    """
    height, width = labels.shape
    flat = labels.ravel(order='F')  # COCO's runs go down the columns
    change = np.append(True, flat[1:] != flat[:-1])
    change[::height] = True  # a run ends with its column, so that it is one line of its box
    starts = np.flatnonzero(change)
    ends = np.append(starts[1:], flat.size)
    owner = flat[starts]
    x, top = np.divmod(starts, height)
    boxes = np.full((4, flat.max() + 1), flat.size)
    boxes[2:] = 0
    np.minimum.at(boxes[0], owner, x)
    np.minimum.at(boxes[1], owner, top)
    np.maximum.at(boxes[2], owner, x + 1)
    np.maximum.at(boxes[3], owner, top + ends - starts)
    order = np.argsort(owner, kind='stable')
    cuts = np.searchsorted(owner[order], np.arange(1, boxes.shape[1]))
    runs = ((starts[rows], ends[rows]) for rows in np.split(order, cuts))
    return boxes.T.astype(np.float32), [_encode(*run, height, width) for run in runs]


def _encode(starts: np.ndarray, ends: np.ndarray, height: int, width: int) -> dict:
    """Runs of pixels, counted down the columns, as compressed COCO run-length encoding."""
    try:
        from pycocotools import mask as coco
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "masks are stored by pycocotools, which is not installed: pip install 'densecl[proposals]'",
            name='pycocotools',
        ) from error
    apart = starts[1:] != ends[:-1]
    starts, ends = starts[np.append(True, apart)], ends[np.append(apart, True)]
    counts = np.diff(np.stack([starts, ends], 1).ravel(), prepend=0, append=height * width)
    if not counts[-1]:  # coco.encode writes no empty run at the end
        counts = counts[:-1]
    return coco.frPyObjects(dict(size=[height, width], counts=counts.tolist()), height, width)
