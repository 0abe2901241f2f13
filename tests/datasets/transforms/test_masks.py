"""Counts, shapes and places of masks, by law."""

import numpy as np
import pytest

from densecl.datasets.transforms.masks import random_mask

DRAWS = 10_000


def drawn(law, count=DRAWS, seed=0) -> np.ndarray:
    """(count, h, w) masks of ``law(rng)``, all from one generator."""
    rng = np.random.default_rng(seed)
    return np.stack([law(rng) for _ in range(count)])


@pytest.mark.parametrize(
    ('grid', 'ratio', 'rounding', 'kept'),
    [
        ((14, 14), 0.75, 'int', 49),  # MAE B, L at 224 px
        ((16, 16), 0.75, 'int', 64),  # MAE H/14
        ((7, 7), 0.6, 'int', 19),  # FCMAE
        ((7, 7), 0.6, 'round', 20),  # SparK
        ((12, 12), 0.75, 'round', 36),  # SparK, 384 px
        ((10, 10), 0.9, 'int', 9),  # 100 * (1 - 0.9) is 9.99...98
        ((5, 5), 0.9, 'round', 2),  # 2.49...95
        ((3, 4), 0.0, 'int', 12),
        ((3, 4), 1.0, 'int', 0),
    ],
)
def test_random_masks_keep_an_exact_number(grid, ratio, rounding, kept):
    masks = drawn(lambda rng: random_mask(grid, ratio, rng, rounding))
    assert masks.shape == (DRAWS, *grid) and masks.dtype == bool
    assert set((~masks).sum((1, 2)).tolist()) == {kept}
    share = 1 - kept / (grid[0] * grid[1])
    spread = np.sqrt(share * (1 - share) / DRAWS)
    assert np.abs(masks.mean(0) - share).max() <= 5 * spread  # every place alike


def test_random_masks_refuse_what_is_no_share():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r'ratio must be in \[0, 1\], got 75'):
        random_mask((14, 14), 75, rng)
    with pytest.raises(ValueError, match="rounding must be one of .*'int', 'round'.*got 'ceil'"):
        random_mask((14, 14), 0.75, rng, 'ceil')
