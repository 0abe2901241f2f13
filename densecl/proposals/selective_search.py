"""Selective search: boxes that may hold objects, from a hierarchy of merging segments.

Uijlings et al., Selective search for object recognition, IJCV 104(2), 2013. Which colour spaces, scales and
similarities make up "single", "fast" and "quality" is as in OpenCV's contrib modules, and so is the pixel
graph without diagonals. The order of the boxes and the rgI colour space are the paper's; OpenCV's boxes
start from the small regions, and its rgI is red, green and grey. Neighbouring segments may touch by a
corner, histograms are exact counts, and texture is taken from derivatives that are sums of whole numbers.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from densecl.messages import check_choice
from densecl.registry import PROPOSALS
from densecl.structures.proposals import Proposals

from .felzenszwalb import check_image, check_settings, check_short_side, kernels, shrink, smooth

DIAGONALS = False  # of the segmentation's pixel graph: with them twice the time, and worse boxes on COCO
# Terms of a similarity: colour, texture, size, fill.
ALL = (True, True, True, True)
NO_COLOUR = (False, True, True, True)
FILL = (False, False, False, True)
SIZE = (False, False, True, False)


@dataclass(frozen=True)
class Strategy:
    """Which hierarchies make up a search: every combination of the three lists.

    Attributes:
        spaces: colour spaces.
        scale: of the first segmentation, unless the caller names another.
        multiples: of that scale, one segmentation each.
        similarities: terms of each similarity.
    """

    spaces: tuple[str, ...]
    scale: float
    multiples: tuple[int, ...]
    similarities: tuple[tuple[bool, ...], ...]


STRATEGIES = {
    'single': Strategy(('hsv',), 200.0, (1,), (ALL,)),
    'fast': Strategy(('hsv', 'lab'), 150.0, (1, 2, 3), (ALL, NO_COLOUR)),
    'quality': Strategy(
        ('hsv', 'lab', 'grey', 'hue', 'rgi'), 150.0, (1, 2, 3, 4, 5), (ALL, NO_COLOUR, FILL, SIZE)
    ),
}


def selective_search(
    image: np.ndarray,
    strategy: str = 'fast',
    scale: float | None = None,
    sigma: float = 0.8,
    min_size: int = 100,
) -> np.ndarray:
    """Boxes that may hold objects, the most promising first. The same image gives the same boxes.

    SoCo searches with scale 300, sigma 0.9 and min_size 100.

    Args:
        image: uint8 RGB (H, W, 3).
        strategy: 'single' (1 hierarchy), 'fast' (12) or 'quality' (100).
        scale: of the first segmentation, see :func:`densecl.proposals.felzenszwalb`; the others of 'fast'
            and 'quality' use 2, 3, ... times as much. Default 200 for 'single', 150 for the others.
        sigma: of the Gaussian before segmentation, px.
        min_size: smallest segment, pixels.

    Returns:
        float32 (P, 4): x1, y1, x2, y2 in pixels, the image being [0, W] x [0, H]; no box twice, the whole
        image among them.

    Raises:
        TypeError, ValueError: another image, strategy or setting than named above.
    """
    check_image(image)
    if image.dtype != np.uint8:
        raise TypeError(f'image: expected uint8 RGB, got {image.dtype}')
    plan = STRATEGIES[check_choice('strategy', strategy, STRATEGIES)]
    scale = plan.scale if scale is None else scale
    check_settings(scale, sigma, min_size)
    image = np.ascontiguousarray(image)
    scales = [multiple * scale for multiple in plan.multiples]
    hierarchies = [
        boxes
        for space in plan.spaces
        for boxes in _search(colours(image, space), scales, sigma, min_size, plan.similarities)
    ]
    return _ranked(hierarchies)


def colours(image: np.ndarray, space: str) -> np.ndarray:
    """An uint8 RGB image in another colour space, uint8 (H, W, C)."""
    if space == 'hsv':
        return cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    if space == 'lab':
        return cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    if space == 'grey':
        return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    if space == 'hue':
        return cv2.extractChannel(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), 0)[..., None]
    # Normalised red and green, and intensity.
    total = np.maximum(image.sum(2, dtype=np.int32), 1)[..., None]
    chroma = 255 * image[..., :2].astype(np.int32) // total
    return np.concatenate([chroma, total // 3], axis=2).astype(np.uint8)


def _search(
    image: np.ndarray,
    scales: list[float],
    sigma: float,
    min_size: int,
    similarities: tuple[tuple[bool, ...], ...],
) -> list[np.ndarray]:
    """Boxes (int32) of each scale's and similarity's hierarchy in one colour space, in order of merging."""
    graph, regions = kernels('graph_kernels'), kernels('region_kernels')
    height, width, channels = image.shape
    weights, edges = graph.sorted_edges(smooth(image, sigma), DIAGONALS)  # once for all scales
    bins = regions.pixel_bins(image, *derivatives(image))
    hierarchies = []
    for scale in scales:
        labels, count = graph.segment(height, width, weights, edges, scale, min_size)
        described = regions.describe(labels, count, bins)
        pairs = regions.neighbours(labels, count)
        hierarchies += [
            regions.group(*described, pairs, channels, height * width, terms)[0] for terms in similarities
        ]
    return hierarchies


def derivatives(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Horizontal and vertical derivatives, int16 (H, W, C), of about a Gaussian of one pixel.

    The paper takes derivatives of a Gaussian of sigma 1; here by binomial weights, whole numbers.
    """
    dx = cv2.Sobel(image, cv2.CV_16S, 1, 0, ksize=5).reshape(image.shape)
    dy = cv2.Sobel(image, cv2.CV_16S, 0, 1, ksize=5).reshape(image.shape)
    return dx, dy


def _ranked(hierarchies: list[np.ndarray]) -> np.ndarray:
    """All boxes in the paper's order (section 3.3), each once.

    A box's rank is its place in its hierarchy, 1 for the whole image, times a random number, so that large
    boxes tend to come first but no hierarchy goes before the others. The numbers are the same each time.
    """
    places = np.concatenate([np.arange(len(boxes), 0, -1) for boxes in hierarchies])
    ranks = places * np.random.RandomState(0).random_sample(len(places))
    boxes = np.concatenate(hierarchies)[np.argsort(ranks, kind='stable')]
    _, first = np.unique(boxes, axis=0, return_index=True)
    return boxes[np.sort(first)].astype(np.float32)


@PROPOSALS.register_module()
class SelectiveSearch:
    """Selective search as a provider of proposals.

    Args:
        strategy, scale, sigma, min_size: see :func:`selective_search`; of the shrunk image where
            ``short_side`` says so.
        max_boxes: keep only so many, the first in order; None keeps all.
        short_side: first shrink larger images to this short side; boxes are scaled back.

    Raises:
        ValueError: an unknown strategy or a setting out of range.
    """

    def __init__(
        self,
        strategy: str = 'fast',
        scale: float | None = None,
        sigma: float = 0.8,
        min_size: int = 100,
        max_boxes: int | None = None,
        short_side: int | None = None,
    ) -> None:
        check_choice('strategy', strategy, STRATEGIES)
        check_settings(1.0 if scale is None else scale, sigma, min_size)
        check_short_side(short_side)
        self.settings = dict(strategy=strategy, scale=scale, sigma=sigma, min_size=min_size)
        self.max_boxes, self.short_side = max_boxes, short_side

    def __call__(self, image: np.ndarray, image_id: str) -> Proposals:
        """Search an uint8 RGB (H, W, 3) image."""
        height, width = image.shape[:2]
        small = shrink(image, self.short_side)
        boxes = selective_search(small, **self.settings)[: self.max_boxes]
        if small is not image:
            back = width / small.shape[1], height / small.shape[0]
            boxes = boxes * np.array(back * 2, np.float32)
        return Proposals(boxes, (height, width))
