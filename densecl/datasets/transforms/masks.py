"""Laws by which patches of a view are masked: plain functions, one a law.

Each returns a bool array (h, w) over the grid of patches, True = masked, which is hidden from the student.
``rng`` is the only source of chance. Counts decide the shapes in a model: they are computed in the arithmetic
of the official codes, rounding errors of floats included.
"""

import numpy as np

Grid = tuple[int, int]


def random_mask(grid: Grid, ratio: float, rng: np.random.Generator, rounding: str = 'int') -> np.ndarray:
    """Mask patches drawn at random without repetition (MAE, He et al., 2022).

    Args:
        grid: h and w, patches along the height and the width.
        ratio: masked share, in [0, 1].
        rng: numpy generator.
        rounding: how the number of *kept* patches is made whole: ``int`` cuts it off (MAE; FCMAE keeps 19 of
            49 at ratio 0.6), ``round`` takes the nearest (SparK, Tian et al., 2023, keeps 20).

    Returns:
        (h, w) bool.

    Raises:
        ValueError: ratio outside [0, 1], or another rounding.
    """
    patches = grid[0] * grid[1]
    roundings = {'int': int, 'round': round}
    if not 0 <= ratio <= 1:
        raise ValueError(f'random_mask: ratio must be in [0, 1], got {ratio!r}')
    if rounding not in roundings:
        raise ValueError(f'random_mask: rounding must be one of {tuple(roundings)}, got {rounding!r}')
    kept = roundings[rounding](patches * (1 - ratio))
    mask = np.ones(patches, bool)
    mask[rng.permutation(patches)[:kept]] = False
    return mask.reshape(grid)
