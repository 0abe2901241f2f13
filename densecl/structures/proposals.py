"""Candidate objects of an image (object proposals)."""

from dataclasses import dataclass, replace

import numpy as np


@dataclass
class Proposals:
    """P candidate objects of one image.

    Attributes:
        boxes: float32 (P, 4), x1, y1, x2, y2 in pixels of the image, which spans [0, W] x [0, H].
        size: height and width of that image in pixels.
        ids: int64 (P,), 0 or more; by default 0 .. P - 1.
        scores: float32 (P,), higher is better, or None.
        masks: P masks of the image's size as compressed COCO run-length encodings,
            ``dict(size=[H, W], counts=bytes)``, or None.
    """

    boxes: np.ndarray
    size: tuple[int, int]
    ids: np.ndarray | None = None
    scores: np.ndarray | None = None
    masks: list[dict] | None = None

    def __post_init__(self) -> None:
        self.boxes = np.asarray(self.boxes, np.float32).reshape(-1, 4)
        if self.ids is None:
            self.ids = np.arange(len(self.boxes))
        self.ids = np.asarray(self.ids, np.int64)
        for name in ('ids', 'scores', 'masks'):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.boxes):
                raise ValueError(f'Proposals: {len(self.boxes)} boxes, but {len(values)} {name}')

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, chosen: np.ndarray) -> 'Proposals':
        """The proposals that ``chosen`` selects: an array of positions, or bool (P,)."""
        positions = np.arange(len(self))[chosen]
        return replace(
            self,
            boxes=self.boxes[positions],
            ids=self.ids[positions],
            scores=None if self.scores is None else self.scores[positions],
            masks=None if self.masks is None else [self.masks[i] for i in positions],
        )
