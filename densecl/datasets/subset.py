"""A part of a data set."""

import numpy as np


def evenly(total: int, count: int) -> list[int]:
    """``count`` evenly spread positions out of ``total``; or all, if there are fewer."""
    count = min(count, total)
    return [i * total // count for i in range(count)]


def subset_of(count: int, most: int | None, setting: str) -> np.ndarray | None:
    """Positions of ``most`` evenly spread entries out of ``count``, int64; None: all of them.

    Raises:
        ValueError: ``most``, the value of ``setting``, is below 1.
    """
    if most is None or most >= count:
        return None
    if most < 1:
        raise ValueError(f'{setting} must be at least 1, got {most}')
    return np.array(evenly(count, most))
