"""Object discovery without labels: one box per image, from the similarity of its cells."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from densecl.numerics import full_precision
from densecl.structures import overlaps


@dataclass(frozen=True)
class Discovery:
    """Correct localisation.

    Attributes:
        corloc: percentage of the images whose box has an IoU of 0.5 or more with a true box.
        whole: the same for boxes as large as the image, a baseline without features.
        images: number of images that have a true box; the others do not count.
        without: number of images without a true box.
        cells: number of cells of an image.
        k: see :func:`lost_box`.
    """

    corloc: float
    whole: float
    images: int
    without: int
    cells: int
    k: int


@torch.no_grad()
def discover(maps: Tensor, boxes: Sequence[Tensor], k: int | None = None) -> Discovery:
    """Find a box in each image by :func:`lost_box` and compare it with the true boxes.

    LOST uses the keys of a transformer's last block, which have both signs. Maps of a convolutional network
    are often positive, so all cells would be similar. Therefore the mean cell of an image is subtracted
    first.

    Args:
        maps: (M, C, h, w), of any floating type.
        boxes: for each image (n, 4), x0 y0 x1 y1 as shares of the sides.
        k: see :func:`lost_box`; by default a ninth of the cells (the paper has 100 of about 900).

    Raises:
        ValueError: no image has a true box.
    """
    size = torch.tensor([*maps.shape[:1:-1]] * 2)  # w, h, w, h
    cells = maps.shape[2] * maps.shape[3]
    k = k or -(-cells // 9)
    best, whole = [], []
    for image, true in zip(maps, boxes, strict=True):
        if not len(true):
            continue
        image = full_precision(image)
        found = lost_box(image - image.mean((1, 2), keepdim=True), k) / size.double()
        for iou, box in ((best, found), (whole, torch.tensor([0.0, 0.0, 1.0, 1.0]))):
            iou.append(overlaps(box[None].double(), true.double()).max())
    if not best:
        raise ValueError('the probe "discovery" needs boxes; no test image has one')
    shares = [100 * (torch.stack(values) >= 0.5).double().mean().item() for values in (best, whole)]
    return Discovery(*shares, len(best), len(maps) - len(best), cells, min(k, cells))


@torch.no_grad()
def lost_box(features: Tensor, k: int = 100) -> Tensor:
    """The box of one object (LOST, Simeoni et al., 2021, section 3.2).

    Two cells are similar if their dot product is positive. The seed is the cell with the fewest similar
    cells, as objects are smaller than the background. Of the k cells with the fewest similar cells, those
    similar to the seed are added to it. A cell belongs to the object if the sum of its dot products with all
    of these is positive. The box encloses the 4-connected part around the seed.

    Args:
        features: (C, h, w), not normalised.
        k: number of cells among which the seed expands; all if there are fewer.

    Returns:
        (4,) int64 on the CPU, x0 y0 x1 y1 in cells, the ends exclusive.
    """
    cells = full_precision(features).flatten(1).T  # (h w, C)
    similarity = cells @ cells.T
    degree = (similarity > 0).sum(1) - (similarity.diagonal() > 0).int()
    order = degree.argsort(stable=True)
    seed, candidates = order[0], order[:k]
    joined = candidates[similarity[seed, candidates] > 0]
    mask = similarity[joined].sum(0) > 0
    mask[seed] = True  # a cell of zeros is not even similar to itself
    grid = mask.view(features.shape[1:]).cpu().numpy().astype(np.uint8)
    parts = cv2.connectedComponents(grid, connectivity=4)[1]
    y, x = np.nonzero(parts == parts.flat[int(seed)])
    return torch.tensor([x.min(), y.min(), x.max() + 1, y.max() + 1])
