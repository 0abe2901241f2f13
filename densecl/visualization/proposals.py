"""Candidate boxes on the photos they are of."""

from collections.abc import Iterable

import cv2
import numpy as np

from densecl.structures import Proposals

from .canvas import as_color, colors, resized, side_by_side, stacked, titled


def draw_proposals(
    image: np.ndarray,
    proposals: Proposals,
    count: int | None = 12,
    height: int = 240,
    widest: int = 1600,
) -> np.ndarray:
    """A photo with its candidate boxes, below a line that says how many there are.

    Args:
        image: uint8 (H, W, 3), at any size.
        proposals: of the image, in pixels of ``proposals.size``.
        count: boxes drawn, evenly spread over the list; None: all.
        height: of the photo in the result.
        widest: a photo that would be wider, in pixels, is lower than ``height``.
    """
    tile = resized(image, height, widest).copy()
    scale = np.array([tile.shape[1] / proposals.size[1], tile.shape[0] / proposals.size[0]] * 2)
    shown = len(proposals) if count is None else min(count, len(proposals))
    chosen = np.linspace(0, len(proposals) - 1, shown).astype(int)
    for box, color in zip(proposals.boxes[chosen] * scale, colors(shown), strict=True):
        x1, y1, x2, y2 = (int(round(value)) for value in box)
        cv2.rectangle(tile, (x1, y1), (x2 - 1, y2 - 1), as_color(color), 1)
    return titled(tile, f'{shown} of {len(proposals)}' if shown < len(proposals) else f'{shown} boxes')


def contact_sheet(
    photos: Iterable[tuple[np.ndarray, Proposals]],
    width: int = 1600,
    count: int | None = 12,
    height: int = 240,
) -> np.ndarray:
    """Photos with their boxes in rows, to look at.

    Args:
        photos: at least one image, uint8 (H, W, 3), with its proposals.
        width: a row gets as many photos as fit into this many pixels; no photo is wider.
        count: boxes drawn of each.
        height: of a photo, at most.
    """
    rows, row = [], []
    for image, proposals in photos:
        tile = draw_proposals(image, proposals, count, height, width)
        if row and sum(t.shape[1] for t in row) + tile.shape[1] + 6 * len(row) > width:
            rows.append(side_by_side(row))
            row = []
        row.append(tile)
    return stacked([*rows, side_by_side(row)])
