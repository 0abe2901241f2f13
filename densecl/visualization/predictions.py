"""Boxes, masks and label maps on top of an image."""

from collections.abc import Sequence

import cv2
import numpy as np

from .canvas import as_color, caption, colors, inside, outline


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
    """
    image = image.copy()
    palette = _palette(palette, labels)
    painted = [] if masks is None else [np.ascontiguousarray(mask, dtype=np.uint8) for mask in masks]
    for mask, label in zip(painted, labels, strict=False):
        image[mask > 0] = _blend(image[mask > 0], palette[int(label)], 0.45)
    for mask, label in zip(painted, labels, strict=False):  # above all areas
        edges, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(image, edges, -1, as_color(palette[int(label)]), 1)
    order = np.argsort(scores) if scores is not None else range(len(labels))  # the best on top
    for number in order:
        box, label = boxes[number], int(labels[number])
        outline(image, box, palette[label])
        text = classes[label] if classes else str(label)
        text = text if scores is None else f'{text} {float(scores[number]):.2f}'
        caption(image, text, (box[0], box[1] - 12), palette[label])
    return image


def draw_segmentation(
    image: np.ndarray,
    label_map: np.ndarray,
    classes: Sequence[str] | None = None,
    palette: Sequence[Sequence[int]] | None = None,
    opacity: float = 0.55,
) -> np.ndarray:
    """Lay a label map over an image and name each class in the middle of its largest region.

    Args:
        image: uint8 (H, W, 3).
        label_map: integers (H, W); 255 is left uncoloured, and so is a class of the name ``background``.
        classes: names of the classes; ids are written without.
        palette: RGB of each class.
        opacity: of the colours, 0 to 1.
    """
    if label_map.shape != image.shape[:2]:
        raise ValueError(f'label map of {label_map.shape} does not fit an image of {image.shape[:2]}')
    names = {
        int(label): classes[label] if classes else str(label)
        for label in np.unique(label_map)
        if label != 255
    }
    palette = _palette(palette, list(names))
    names = {label: name for label, name in names.items() if name != 'background'}
    painted = image.copy()
    for label in names:
        where = label_map == label
        painted[where] = _blend(image[where], palette[label], opacity)
    for label, name in names.items():
        x, y = inside(label_map == label)
        caption(painted, name, (x - 12, y - 6), palette[label])
    return painted


def _blend(pixels: np.ndarray, color: Sequence[int], opacity: float) -> np.ndarray:
    return ((1 - opacity) * pixels + opacity * np.asarray(color)).round()


def _palette(palette: Sequence | None, labels: Sequence[int]) -> Sequence:
    if palette is not None:
        return palette
    return colors(max((int(label) for label in labels), default=0) + 1)
