"""Colours, captions and tiles."""

import colorsys
import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

WHITE, BLACK, GAP = (255, 255, 255), (0, 0, 0), 6
_FONT, _TITLE = cv2.FONT_HERSHEY_SIMPLEX, 20


def colors(count: int) -> np.ndarray:
    """(count, 3) uint8 bright colours; neighbours differ most, and the first ones never change."""
    hues = (np.arange(count) * 0.618034) % 1
    values = np.where(np.arange(count) % 2, 0.8, 1.0)
    rgb = [colorsys.hsv_to_rgb(h, 0.8, v) for h, v in zip(hues, values, strict=True)]
    return (np.array(rgb).reshape(-1, 3) * 255).round().astype(np.uint8)


def as_color(color: Sequence[int] | np.ndarray) -> tuple[int, int, int]:
    """What OpenCV takes as a colour."""
    return tuple(int(value) for value in color)


def resized(image: np.ndarray, height: int, widest: float = math.inf) -> np.ndarray:
    """The image at another height, its aspect kept; lower where it would be wider than ``widest`` pixels."""
    height = max(1, int(min(height, widest * image.shape[0] / image.shape[1])))
    width = min(max(1, round(image.shape[1] * height / image.shape[0])), widest)
    shrinks = height < image.shape[0] or width < image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def outline(image: np.ndarray, box: Sequence[float], color: Sequence[int], width: int = 1) -> None:
    """Draw a box, x1, y1, x2, y2 in pixels, in place."""
    x1, y1, x2, y2 = (int(round(float(value))) for value in box)
    cv2.rectangle(image, (x1, y1), (x2 - 1, y2 - 1), as_color(color), width)


def inside(mask: np.ndarray) -> tuple[int, int]:
    """x and y of the point of a mask that is farthest from its border."""
    padded = np.pad(mask.astype(np.uint8), 1)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    return int(x), int(y)


def caption(image: np.ndarray, text: str, corner: tuple[float, float], color: Sequence[int]) -> None:
    """Write ``text`` in place, on a patch of ``color`` at ``corner`` (x, y) or as near as fits."""
    # OpenCV's font is ASCII only.
    text = text.encode('ascii', 'replace').decode()
    (width, height), base = cv2.getTextSize(text, _FONT, 0.4, 1)
    x = int(min(max(corner[0], 0), max(image.shape[1] - width - 4, 0)))
    y = int(min(max(corner[1], 0), max(image.shape[0] - height - base - 2, 0)))
    cv2.rectangle(image, (x, y), (x + width + 3, y + height + base + 1), as_color(color), -1)
    ink = BLACK if np.dot(as_color(color), (0.3, 0.59, 0.11)) > 120 else WHITE
    cv2.putText(image, text, (x + 2, y + height + 1), _FONT, 0.4, ink, 1, cv2.LINE_AA)


def titled(image: np.ndarray, title: str) -> np.ndarray:
    """The image below a line of text."""
    (width, _), _ = cv2.getTextSize(title, _FONT, 0.4, 1)
    bar = np.full((_TITLE, max(image.shape[1], width + 8), 3), 255, np.uint8)
    caption(bar, title, (2, 2), WHITE)
    return stacked([bar, image], gap=0)


def side_by_side(images: Sequence[np.ndarray], gap: int = GAP) -> np.ndarray:
    """Images in a row on white, tops aligned."""
    height = max(image.shape[0] for image in images)
    width = sum(image.shape[1] for image in images) + gap * (len(images) - 1)
    sheet, x = np.full((height, width, 3), 255, np.uint8), 0
    for image in images:
        sheet[: image.shape[0], x : x + image.shape[1]] = image
        x += image.shape[1] + gap
    return sheet


def stacked(images: Sequence[np.ndarray], gap: int = GAP) -> np.ndarray:
    """Images in a column on white, left sides aligned."""
    turned = side_by_side([image.transpose(1, 0, 2) for image in images], gap)
    return np.ascontiguousarray(turned.transpose(1, 0, 2))


def save_image(path: str | Path, image: np.ndarray) -> Path:
    """Write a uint8 RGB image; the suffix says the format, folders are made.

    Raises:
        ValueError: the format cannot hold the image.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:  # some versions of OpenCV raise, others return False
        done, data = cv2.imencode(path.suffix, np.ascontiguousarray(image[..., ::-1]))
    except cv2.error:
        done = False
    if not done:
        raise ValueError(
            f'{path}: cannot encode an image of shape {image.shape}; make it smaller or choose another suffix'
        )
    path.write_bytes(data.tobytes())
    return path
