"""Rules that choose among candidate boxes; each is one condition, and they compose."""

import numpy as np
import torch

from densecl.registry import PROPOSALS
from densecl.structures import Proposals


def filter_boxes(
    boxes: np.ndarray,
    size: tuple[int, int],
    min_side: float = 32,
    aspect: tuple[float, float] = (1 / 3, 3),
    relative_size: tuple[float, float] = (0.3, 0.8),
) -> np.ndarray:
    """The boxes that SoCo pretrains on (Wei et al., NeurIPS 2021, section 3.2); all bounds inclusive.

    Args:
        boxes: (P, 4), x1, y1, x2, y2 in pixels.
        size: height and width of the image.
        min_side: least width and height in pixels.
        aspect: range of width / height.
        relative_size: range of sqrt(w h) / sqrt(W H).

    Returns:
        float32 (K, 4), those of ``boxes`` that satisfy all three, in their order.
    """
    proposals = Proposals(boxes, size)
    rules = MinSide(min_side), AspectRatio(*aspect), RelativeSize(*relative_size)
    return apply_rules(proposals, rules).boxes


def apply_rules(proposals: Proposals, rules) -> Proposals:
    """What all rules keep, each seeing what those before it left."""
    for rule in rules:
        proposals = proposals[rule(proposals)]
    return proposals


def _sides(proposals: Proposals) -> tuple[np.ndarray, np.ndarray]:
    """Widths and heights, float64 (P,) each."""
    boxes = proposals.boxes.astype(np.float64)
    return boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]


def _check_range(rule: str, low: float, high: float) -> None:
    if not 0 <= low <= high:
        raise ValueError(f'{rule}: low and high must be 0 <= low <= high, got {low} and {high}')


@PROPOSALS.register_module()
class MinSide:
    """Keep boxes whose width and height are at least ``pixels``.

    A rule: called with P proposals, it returns which to keep, bool (P,) or positions in a new order.
    """

    def __init__(self, pixels: float = 32) -> None:
        self.pixels = pixels

    def __call__(self, proposals: Proposals) -> np.ndarray:
        """Bool (P,)."""
        return np.minimum(*_sides(proposals)) >= self.pixels


@PROPOSALS.register_module()
class AspectRatio:
    """Keep boxes with ``low <= width / height <= high``; never one without height."""

    def __init__(self, low: float = 1 / 3, high: float = 3) -> None:
        _check_range('AspectRatio', low, high)
        self.low, self.high = low, high

    def __call__(self, proposals: Proposals) -> np.ndarray:
        """Bool (P,)."""
        width, height = _sides(proposals)
        ratio = width / np.where(height > 0, height, np.nan)  # a comparison with NaN is false
        return (self.low <= ratio) & (ratio <= self.high)


@PROPOSALS.register_module()
class RelativeSize:
    """Keep boxes with ``low <= sqrt(w h) / sqrt(W H) <= high``."""

    def __init__(self, low: float = 0.3, high: float = 0.8) -> None:
        _check_range('RelativeSize', low, high)
        self.low, self.high = low, high

    def __call__(self, proposals: Proposals) -> np.ndarray:
        """Bool (P,)."""
        width, height = _sides(proposals)
        area = np.clip(width, 0, None) * np.clip(height, 0, None)
        ratio = np.sqrt(area) / np.sqrt(float(proposals.size[0]) * proposals.size[1])
        return (self.low <= ratio) & (ratio <= self.high)


@PROPOSALS.register_module()
class DropDuplicates:
    """Drop every box that overlaps a kept one more than ``iou``.

    The box with the better score stays; without scores, or of equal ones, the earlier. The order of
    what stays is unchanged. ``iou=1`` drops nothing, not even exact copies; AlignDet uses 0.5.
    """

    def __init__(self, iou: float = 0.9) -> None:
        if not 0 <= iou <= 1:
            raise ValueError(f'DropDuplicates: iou must lie in 0..1, got {iou}')
        self.iou = iou

    def __call__(self, proposals: Proposals) -> np.ndarray:
        """Bool (P,)."""
        from torchvision.ops import nms

        order = _best_first(proposals)
        boxes = torch.from_numpy(proposals.boxes[order].astype(np.float64))
        keep = np.zeros(len(order), bool)
        keep[order[nms(boxes, torch.arange(len(order), 0, -1).double(), self.iou).numpy()]] = True
        return keep


@PROPOSALS.register_module()
class TopScores:
    """Keep the ``count`` boxes of the best scores, best first; without scores the first ones."""

    def __init__(self, count: int) -> None:
        if count < 1:
            raise ValueError(f'TopScores: count must be at least 1, got {count}')
        self.count = count

    def __call__(self, proposals: Proposals) -> np.ndarray:
        """Positions, at most ``count``."""
        return _best_first(proposals)[: self.count]


@PROPOSALS.register_module()
class MinScore:
    """Keep boxes whose score is at least ``score``; their provider must give scores."""

    def __init__(self, score: float) -> None:
        self.score = score

    def __call__(self, proposals: Proposals) -> np.ndarray:
        """Bool (P,)."""
        if not len(proposals):
            return np.zeros(0, bool)
        if proposals.scores is None:
            raise ValueError('MinScore: these proposals have no scores; leave the rule out')
        return proposals.scores >= self.score


def _best_first(proposals: Proposals) -> np.ndarray:
    """Positions by falling score, equal ones and those without in their order."""
    if proposals.scores is None:
        return np.arange(len(proposals))
    return np.argsort(-np.asarray(proposals.scores, np.float64), kind='stable')
