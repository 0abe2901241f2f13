"""Makes one label map from the run lengths of COCO masks, without decoding a mask at full size."""

import numpy as np

from densecl.coco import run_lengths


def runs(mask: dict) -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends of a mask's runs, as pixel numbers counted column by column.

    Args:
        mask: COCO run-length encoding, ``dict(size=[H, W], counts=...)``: compressed (bytes or str) or a list
            of numbers.

    Returns:
        Two int64 arrays of equal length; runs are not empty, and ends are exclusive.

    Raises:
        ValueError: the run lengths do not fill the image.
    """
    bounds = run_lengths(mask).cumsum()
    starts, ends = bounds[0:-1:2], bounds[1::2]
    filled = ends > starts
    return starts[filled], ends[filled]


def label_map(masks: list[dict]) -> np.ndarray:
    """The mask that each pixel belongs to; where masks overlap, the smaller one.

    Args:
        masks: P masks of one size (H, W), P > 0; see :func:`runs`.

    Returns:
        int32 (H, W), position in ``masks``; -1 without a mask.
    """
    height, width = masks[0]['size']
    found = [runs(mask) for mask in masks]
    starts, ends = (np.concatenate(side) for side in zip(*found, strict=True))
    owners = np.repeat(np.arange(len(masks)), [len(s) for s, _ in found])
    order = starts.argsort()
    starts, ends, owners = starts[order], ends[order], owners[order]
    if (ends[:-1] <= starts[1:]).all():
        bounds = np.stack([starts, ends], 1).ravel()
        lengths = np.diff(bounds, prepend=0, append=height * width)
        labels = np.full(len(lengths), -1, np.int32)  # -1 before, between and after the runs
        labels[1::2] = owners
        flat = np.repeat(labels, lengths)
    else:
        flat = _painted(found, height * width)
    return flat.reshape(width, height).T


def _painted(found: list[tuple[np.ndarray, np.ndarray]], size: int) -> np.ndarray:
    """Paint large masks first, then smaller ones over them."""
    flat = np.full(size, -1, np.int32)
    areas = [(ends - starts).sum() for starts, ends in found]
    for position in np.argsort(areas, kind='stable')[::-1]:
        for start, end in zip(*found[position], strict=True):
            flat[start:end] = position
    return flat
