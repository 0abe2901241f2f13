"""Boxes that need no look at the image: a grid, and random ones."""

import hashlib

import numpy as np
import torch

from densecl.registry import PROPOSALS
from densecl.structures import Proposals


@PROPOSALS.register_module()
class GridBoxes:
    """``rows`` x ``columns`` equal boxes that cover the image, row by row.

    Args:
        rows: boxes from top to bottom.
        columns: boxes from left to right.
        overlap: the share of its side that a box has in common with its neighbour, 0 <= overlap < 1.
    """

    reads_pixels = False

    def __init__(self, rows: int = 3, columns: int = 3, overlap: float = 0.0) -> None:
        if rows < 1 or columns < 1 or not 0 <= overlap < 1:
            raise ValueError(
                'GridBoxes: rows and columns must be at least 1 and 0 <= overlap < 1, got '
                f'{rows}, {columns} and {overlap}'
            )
        self.rows, self.columns, self.overlap = rows, columns, overlap

    def __call__(self, image: np.ndarray, image_id: str) -> Proposals:
        """The same boxes for every image of a size."""
        height, width = image.shape[:2]
        top, bottom = self._spans(self.rows, height)
        left, right = self._spans(self.columns, width)
        y, x = (index.ravel() for index in np.indices((self.rows, self.columns)))
        return Proposals(np.stack([left[x], top[y], right[x], bottom[y]], axis=1), (height, width))

    def _spans(self, count: int, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Starts and ends of ``count`` equal spans on [0, length]."""
        side = length / (1 + (count - 1) * (1 - self.overlap))
        starts = np.linspace(0, length - side, count)
        return starts, np.minimum(starts + side, length)


@PROPOSALS.register_module()
class RandomBoxes:
    """Random boxes, always the same for the same image id and seed.

    SCRL (Roh et al., CVPR 2021) shows that random boxes do for object-level learning; it draws them anew
    for every pair of views (``densecl.datasets.transforms.OverlapBoxes``), these stay with the image.

    Args:
        count: boxes an image; fewer where ``tries`` draws a box do not suffice.
        area: range of a box's share of the image's area, drawn evenly.
        aspect: range of width / height, drawn evenly on a logarithmic scale; drawn again where the box
            does not fit into the image.
        max_iou: a box overlaps no earlier one more than this.
        tries: draws for a box before it is left out.
        seed: another set of boxes.
    """

    reads_pixels = False

    def __init__(
        self,
        count: int = 16,
        area: tuple[float, float] = (0.05, 0.6),
        aspect: tuple[float, float] = (1 / 3, 3),
        max_iou: float = 0.5,
        tries: int = 50,
        seed: int = 0,
    ) -> None:
        if count < 1 or not 0 < area[0] <= area[1] <= 1 or not 0 < aspect[0] <= aspect[1]:
            raise ValueError(
                'RandomBoxes: expected count >= 1, 0 < area[0] <= area[1] <= 1 and '
                f'0 < aspect[0] <= aspect[1], got {count}, {area} and {aspect}'
            )
        self.count, self.area, self.aspect = count, tuple(area), tuple(aspect)
        self.max_iou, self.tries, self.seed = max_iou, tries, seed

    def __call__(self, image: np.ndarray, image_id: str) -> Proposals:
        """The boxes of an image."""
        height, width = image.shape[:2]
        digest = hashlib.blake2b(image_id.encode(errors='surrogateescape'), digest_size=8).digest()
        rng = np.random.default_rng((self.seed, int.from_bytes(digest, 'little')))
        boxes = np.zeros((0, 4))
        for _ in range(self.count):
            box = self._draw(rng, height, width, boxes)
            if box is not None:
                boxes = np.concatenate([boxes, box[None]])
        return Proposals(boxes, (height, width))

    def _draw(self, rng, height: int, width: int, earlier: np.ndarray) -> np.ndarray | None:
        """The first of ``tries`` boxes that fits into the image and keeps off the earlier ones."""
        from torchvision.ops import box_iou

        area = rng.uniform(*self.area, self.tries) * height * width
        aspect = np.exp(rng.uniform(*np.log(self.aspect), self.tries))
        sides = np.stack([np.sqrt(area * aspect), np.sqrt(area / aspect)], axis=1)  # w, h
        room = np.array([width, height]) - sides
        corner = rng.uniform(size=(self.tries, 2)) * room
        boxes = np.concatenate([corner, corner + sides], axis=1)
        overlap = box_iou(torch.from_numpy(boxes), torch.from_numpy(earlier)).numpy()
        good = (room >= 0).all(1) & (overlap <= self.max_iou).all(1)
        return boxes[good.argmax()] if good.any() else None
