"""Objects that may be in an image: as a provider names them, and as the views of a batch see them."""

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor


@dataclass
class Proposals:
    """P candidate objects of one image.

    Attributes:
        boxes: float32 (P, 4), x1, y1, x2, y2 in pixels of the image, whose extent is [0, W] x [0, H].
        size: height and width of that image in pixels.
        ids: int64 (P,), not negative; 0 .. P - 1 unless given.
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
        """Those that ``chosen`` names: positions, or a bool (P,)."""
        positions = np.arange(len(self))[chosen]
        return replace(
            self,
            boxes=self.boxes[positions],
            ids=self.ids[positions],
            scores=None if self.scores is None else self.scores[positions],
            masks=None if self.masks is None else [self.masks[i] for i in positions],
        )


@dataclass
class ViewProposals:
    """K objects of an image as one view shows them; of a batch, every tensor has B in front.

    Attributes:
        boxes: (K, 4) float32, x1, y1, x2, y2 in pixels of the view, cut to it.
        ids: (K,) int64: the same number is the same object in every view; -1 is no object.
        masks: (K, h, w) float32 in [0, 1], the share of each cell of a grid over the view that the object
            covers, or None.
    """

    boxes: Tensor
    ids: Tensor
    masks: Tensor | None = None

    @classmethod
    def stack(cls, proposals: list['ViewProposals']) -> 'ViewProposals':
        """Stack those of B images; every tensor gains a leading B."""
        parts = ([getattr(p, f.name) for p in proposals] for f in fields(cls))
        return cls(*(None if part[0] is None else torch.stack(part) for part in parts))
