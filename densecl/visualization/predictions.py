"""Boxes, masks and label maps on top of an image."""

from collections.abc import Sequence

import cv2
import numpy as np

from .canvas import as_color, caption, colors


def draw_detections(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: Sequence[int],
    scores: Sequence[float] | None = None,
    masks: np.ndarray | None = None,
    classes: Sequence[str] | None = None,
    palette: Sequence[Sequence[int]] | None = None,
) -> np.ndarray:
    """Draw instances in the colour of their class.

    Args:
        image: uint8 (H, W, 3).
        boxes: (N, 4), x1, y1, x2, y2 in pixels.
        labels: N class ids.
        scores: N scores, or None for ground truth.
        masks: (N, H, W) bool, or None.
        classes: names of the classes; ids are written without.
        palette: RGB of each class; :func:`densecl.visualization.colors` without.

    Returns:
        uint8 (H, W, 3).
    """
    image = image.copy()
    palette = _palette(palette, labels)
    outlined = []
    for number, label in enumerate(labels):
        color = palette[int(label)]
        if masks is not None:
            mask = np.ascontiguousarray(masks[number], dtype=np.uint8)
            image[mask > 0] = _blend(image[mask > 0], color, 0.45)
            outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            outlined.append((outlines, color))
    for outlines, color in outlined:
        cv2.drawContours(image, outlines, -1, as_color(color), 1)
    order = np.argsort(scores) if scores is not None else range(len(labels))  # the best on top
    for number in order:
        x1, y1, x2, y2 = (int(round(float(value))) for value in boxes[number])
        color, label = palette[int(labels[number])], int(labels[number])
        cv2.rectangle(image, (x1, y1), (x2 - 1, y2 - 1), as_color(color), 1)
        text = classes[label] if classes else str(label)
        text = text if scores is None else f'{text} {float(scores[number]):.2f}'
        caption(image, text, (x1, y1 - 12), color)
    return image


def draw_segmentation(
    image: np.ndarray,
    label_map: np.ndarray,
    classes: Sequence[str] | None = None,
    palette: Sequence[Sequence[int]] | None = None,
    opacity: float = 0.55,
    ignore: int = 255,
) -> np.ndarray:
    """Lay a label map over an image and name each class in the middle of its largest region.

    Args:
        image: uint8 (H, W, 3).
        label_map: integers (H, W).
        classes: names of the classes; ids are written without.
        palette: RGB of each class.
        opacity: of the colours, 0 to 1.
        ignore: label that is left uncoloured.

    Returns:
        uint8 (H, W, 3).
    """
    if label_map.shape != image.shape[:2]:
        raise ValueError(
            f'label map of {label_map.shape} does not fit an image of {image.shape[:2]}'
        )
    present = [int(label) for label in np.unique(label_map) if label != ignore]
    palette = _palette(palette, present)
    painted = image.copy()
    for label in present:
        where = label_map == label
        painted[where] = _blend(image[where], palette[label], opacity)
    for label in present:
        name = classes[label] if classes else str(label)
        if name != 'background':
            caption(painted, name, _middle(label_map == label), palette[label])
    return painted


def _blend(pixels: np.ndarray, color: Sequence[int], opacity: float) -> np.ndarray:
    return ((1 - opacity) * pixels + opacity * np.asarray(color)).round()


def _middle(mask: np.ndarray) -> tuple[int, int]:
    """x and y of the point of a mask farthest from its border, a little to the left."""
    padded = np.pad(mask.astype(np.uint8), 1)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    return int(x) - 12, int(y) - 6


def _palette(palette: Sequence | None, labels: Sequence[int]) -> Sequence:
    if palette is not None:
        return palette
    return colors(max((int(label) for label in labels), default=0) + 1)
