"""Candidate boxes on the photos they are of."""

from collections.abc import Iterable

import numpy as np

from densecl.structures import Proposals

from .canvas import GAP, colors, outline, resized, side_by_side, stacked, titled


def draw_proposals(
    image: np.ndarray, proposals: Proposals, count: int | None = 12, height: int = 240, widest: int = 1600
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
        outline(tile, box, color)
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
    rows: list[list[np.ndarray]] = []
    for image, proposals in photos:
        tile = draw_proposals(image, proposals, count, height, width)
        if not rows or sum(t.shape[1] + GAP for t in rows[-1]) + tile.shape[1] > width:
            rows.append([])
        rows[-1].append(tile)
    return stacked([side_by_side(row) for row in rows])
