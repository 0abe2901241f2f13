"""Counts, shapes and places of masks, by law."""

import random
from collections import Counter

import numpy as np
import pytest
import torch
from oracles import masks as oracle

from densecl.datasets.transforms import masks

DRAWS = 10_000


def drawn(law, count=DRAWS, seed=0) -> np.ndarray:
    """(count, h, w) masks of ``law(rng)``, all from one generator."""
    rng = np.random.default_rng(seed)
    found = np.stack([law(rng) for _ in range(count)])
    assert found.dtype == bool and found.ndim == 3
    return found


def counts_of(found: np.ndarray) -> np.ndarray:
    return found.sum((1, 2))


def assert_uniform(found: np.ndarray) -> None:
    """Every place is masked equally often, within five standard deviations."""
    share = found.mean()
    assert np.abs(found.mean(0) - share).max() <= 5 * np.sqrt(share * (1 - share) / len(found))


@pytest.mark.parametrize(
    ('grid', 'ratio', 'rounding', 'kept', 'draws'),
    [
        ((14, 14), 0.75, 'int', 49, DRAWS),  # MAE B, L at 224 px
        ((16, 16), 0.75, 'int', 64, 100),  # MAE H/14
        ((7, 7), 0.6, 'int', 19, DRAWS),  # FCMAE
        ((7, 7), 0.6, 'round', 20, DRAWS),  # SparK
        ((12, 12), 0.75, 'round', 36, 100),  # SparK, 384 px
        ((10, 10), 0.9, 'int', 9, 100),  # 100 * (1 - 0.9) is 9.99...98
        ((5, 5), 0.9, 'round', 2, 100),  # 2.49...95
        ((3, 4), 0.0, 'int', 12, 100),
        ((3, 4), 1.0, 'int', 0, 100),
    ],
)
def test_random_masks_keep_an_exact_number(grid, ratio, rounding, kept, draws):
    found = drawn(lambda rng: masks.random_mask(grid, ratio, rng, rounding), draws)
    assert found.shape == (draws, *grid)
    assert set((~found).sum((1, 2)).tolist()) == {kept}
    assert_uniform(found)


@pytest.mark.parametrize(
    ('grid', 'cell', 'ratio', 'cells', 'draws'),
    [
        ((14, 14), 2, 0.6, 30, DRAWS),  # ViT at 224 px: 29.4 of 49 cells
        ((48, 48), 8, 0.6, 22, 2000),  # Swin at 192 px: 21.6 of 36 cells, 1408 tokens
        ((20, 20), 2, 0.55, 56, 100),  # 100 * 0.55 is 55.00...01
        ((4, 6), 2, 0.0, 0, 100),
        ((4, 6), 2, 1.0, 6, 100),
    ],
)
def test_cells_are_masked_whole_and_rounded_up(grid, cell, ratio, cells, draws):
    found = drawn(lambda rng: masks.cell_mask(grid, cell, ratio, rng), draws)
    assert set(counts_of(found).tolist()) == {cells * cell**2}
    by_cell = found.reshape(draws, grid[0] // cell, cell, grid[1] // cell, cell)
    assert (by_cell == by_cell[:, :, :1, :, :1]).all()
    assert_uniform(found)


def test_beits_blocks_may_end_short():
    """The official generator, 2000 draws: mean 74.5, 31 % below 75, minimum 66; 20,000 draws of another one:
    74.47, 33 %, 64."""
    counts = counts_of(drawn(lambda rng: masks.block_mask((14, 14), 75, rng)))
    assert counts.max() == 75 and 60 <= counts.min() <= 66
    assert abs(counts.mean() - 74.47) < 0.05 and abs((counts < 75).mean() - 0.333) < 0.02


def test_beits_blocks_are_distributed_as_in_plain_python():
    random.seed(0)
    own = drawn(lambda rng: masks.block_mask((14, 14), 75, rng), 4000)
    other = np.array([oracle.blocks(14, 14, 75, 16) for _ in range(4000)], bool)
    assert_alike(Counter(counts_of(own).tolist()), Counter(counts_of(other).tolist()))
    # neighbours are masked together or not: how long the runs are says what shape the blocks have
    for axis in (1, 2):
        edges = [np.diff(found.astype(int), axis=axis).any(axis).sum(1) for found in (own, other)]
        assert_alike(*(Counter(e.tolist()) for e in edges))
    spread = np.sqrt(2 * 0.25 / 4000)
    assert np.abs(own.mean(0) - other.mean(0)).max() < 5 * spread
    # the law knows no direction
    mean = own.mean(0)
    for turned in (mean[::-1], mean[:, ::-1], mean.T):
        assert np.abs(mean - turned).max() < 5 * spread
    assert mean[7, 7] > 3 * mean[0, 0]


def assert_alike(one: Counter, other: Counter) -> None:
    """Two samples of one distribution: chi-squared below its 1 - 1e-4 quantile or so; rare values are one."""
    rare = [k for k in one | other if one[k] + other[k] < 40]
    pairs = [(one[k], other[k]) for k in one | other if k not in rare]
    pairs.append((sum(one[k] for k in rare), sum(other[k] for k in rare)))
    chi = sum((a - b) ** 2 / (a + b) for a, b in pairs if a + b)
    free = len(pairs) - 1
    assert free >= 3 and chi < free + 4 * np.sqrt(2 * free) + 4


def test_exact_blocks_are_topped_up():
    exact = drawn(lambda rng: masks.block_mask((14, 14), 75, rng, exact=True), 3000)
    assert set(counts_of(exact).tolist()) == {75}
    for count in (
        0,
        1,
        195,
        196,
    ):  # blocks are shorter than the grid: of the last count most is single patches
        few = drawn(lambda rng, count=count: masks.block_mask((14, 14), count, rng, 4, exact=True), 20)
        assert set(counts_of(few).tolist()) == {count}


def test_a_count_that_is_not_whole_is_a_bound():
    counts = counts_of(drawn(lambda rng: masks.block_mask((6, 6), 9.9, rng, 4), 2000))
    assert counts.max() == 9 and counts.min() >= 1
    assert set(counts_of(drawn(lambda rng: masks.block_mask((6, 6), 9.9, rng, 4, exact=True), 50))) == {9}


@pytest.mark.parametrize(
    ('aspect', 'shapes'),
    [
        ((0.3, 1 / 0.3), {(4, 5), (5, 4)}),
        ((0.1, 10), {(4, 5), (5, 4), (2, 10), (10, 2)}),
        ((0.1, 0.3), {(2, 10)}),  # height / width
        ((1.2, 1.3), {(5, 4)}),
    ],
)
def test_sides_of_a_block(aspect, shapes):
    """A block of area 20 whose rounded sides multiply to 20 ends the mask: it is one rectangle."""
    found = drawn(lambda rng: masks.block_mask((16, 16), 20, rng, 20, aspect=aspect), 3000)
    seen = Counter()
    for mask in found[counts_of(found) == 20]:
        rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
        h, w = np.ptp(rows) + 1, np.ptp(columns) + 1
        if h * w == 20:
            seen[int(h), int(w)] += 1
    # two blocks may happen to make up a rectangle
    assert {shape for shape, times in seen.items() if times > 0.02 * seen.total()} == shapes


def test_area_of_a_block():
    """Blocks of at most 6 patches in a large grid rarely touch: what is connected is small."""
    found = drawn(lambda rng: masks.block_mask((40, 40), 24, rng, 4, max_area=6), 300)
    assert counts_of(found).max() == 24
    biggest = max(
        int(mask[y : y + 4, x : x + 4].sum()) for mask in found[:40] for y in range(37) for x in range(37)
    )
    assert 6 <= biggest <= 12 and counts_of(found).mean() > 22
    whole = counts_of(drawn(lambda rng: masks.block_mask((16, 16), 128, rng, 4, 128), 1000))
    assert whole.max() == 128 and whole.min() > 100 and 0.8 < (whole == 128).mean() < 1  # DINOv2: at most


@pytest.mark.parametrize(
    ('grid', 'count', 'aspect'),
    [((16, 16), int(256 * 0.65), (0.5, 2.0)), ((14, 14), 127, (0.3, 1 / 0.3)), ((6, 20), 60, (0.5, 2.0))],
)
def test_inverse_blocks_keep_one_rectangle(grid, count, aspect):
    found = drawn(lambda rng: masks.inverse_block_mask(grid, count, rng, aspect, roll=False), 2000)
    assert set(counts_of(found).tolist()) == {count}
    kept, shapes = grid[0] * grid[1] - count, set()
    for mask in found:
        rows, columns = (np.flatnonzero(~mask.all(axis)) for axis in (1, 0))
        h, w = int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1
        part = ~mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert part.ravel()[:kept].all() and not part.ravel()[kept:].any()  # the first in reading order
        shapes.add((h, w))
    low, high = np.clip(aspect, kept / grid[1] ** 2, grid[0] ** 2 / kept)
    assert all(np.sqrt(kept * low) - 1 <= h <= np.ceil(np.sqrt(kept * high)) for h, w in shapes)
    assert all(w <= np.ceil(np.sqrt(kept / low)) for h, w in shapes)
    assert len(shapes) > 3 or shapes == {(6, 11)}  # the low grid leaves one


def test_capi_keeps_ninety_and_every_place_alike():
    found = drawn(lambda rng: masks.inverse_block_mask((16, 16), int(256 * 0.65), rng), DRAWS)
    assert set((~found).sum((1, 2)).tolist()) == {90}
    assert_uniform(found)
    unrolled = drawn(lambda rng: masks.inverse_block_mask((16, 16), 166, rng, roll=False), 2000)
    assert unrolled.mean(0)[8, 8] < 0.2 < 0.9 < unrolled.mean(0)[0, 0]


def test_capi_asks_for_eight_of_the_masked_patches_and_for_each_alike():
    def asked(rng):
        mask = masks.inverse_block_mask((16, 16), 166, rng)
        places = masks.some_of(mask, 0.05, rng)
        assert places.dtype == np.int64 and mask.flat[places].all() and (np.diff(places) > 0).all()
        chosen = np.zeros((16, 16), bool)
        chosen.flat[places] = True
        return chosen

    found = drawn(asked, DRAWS)
    assert set(counts_of(found).tolist()) == {8}
    assert_uniform(found)


def test_inverse_blocks_of_nothing_and_of_all():
    rng = np.random.default_rng(0)
    assert not masks.inverse_block_mask((3, 5), 0, rng).any()
    assert masks.inverse_block_mask((3, 5), 15, rng).all()
    assert {int(masks.inverse_block_mask((3, 5), 14, rng).sum()) for _ in range(50)} == {14}


def test_data2vec_keeps_squares():
    found = drawn(lambda rng: masks.data2vec_mask((14, 14), 0.8, rng), DRAWS)
    assert set((~found).sum((1, 2)).tolist()) == {39}  # 196 * (1 - 0.8) is 39.19...
    # five squares of nine cover 45 at most; a kept patch mostly has a kept neighbour, at random it would not
    kept = ~found[:, 1:-1, 1:-1]
    neighbours = ~found[:, :-2, 1:-1] | ~found[:, 2:, 1:-1] | ~found[:, 1:-1, :-2] | ~found[:, 1:-1, 2:]
    assert neighbours[kept].mean() > 0.9
    mean = found.mean(0)
    assert np.abs(mean - mean[::-1]).max() < 0.03 and np.abs(mean - mean.T).max() < 0.03
    for length, adjust in ((1, 0.0), (2, 0.3), (4, 0.07)):
        few = drawn(lambda rng, a=(length, adjust): masks.data2vec_mask((7, 9), 0.75, rng, *a), 50)
        assert set((~few).sum((1, 2)).tolist()) == {15}


def test_gmml_masks_a_share_and_up_to_a_rectangle_more():
    found = drawn(lambda rng: masks.gmml_mask((14, 14), 0.5, rng, 16), 2000)
    counts = counts_of(found)
    assert counts.min() == 98 and counts.max() <= 97 + 16  # 66 px are 4 patches
    pixels = drawn(lambda rng: masks.gmml_mask((64, 64), 0.3, rng), 100)
    assert counts_of(pixels).min() >= 0.3 * 64**2 and counts_of(pixels).max() < 0.3 * 64**2 + 18**2
    many = counts_of(drawn(lambda rng: masks.gmml_mask((14, 14), 0.7, rng, 16), 1000)) / 196
    assert many.min() >= 0.5 and np.quantile(many, 0.1) < 0.55 and many.max() > 0.7
    assert found[:, 0, 0].mean() < found[:, 7, 7].mean()


@pytest.mark.parametrize(('ratio', 'masked'), [(0.2, 0.219), (0.4, 0.422), (0.6, 0.598)])
def test_region_cuts_are_distributed_as_in_plain_python(ratio, masked):
    random.seed(0)
    own = drawn(lambda rng: masks.region_cut_mask((14, 14), ratio, rng))
    found = [oracle.region_cuts(14, ratio) for _ in range(DRAWS)]
    other = np.array([grid for grid, _ in found], bool)
    assert abs(counts_of(other).mean() / 196 - masked) < 0.004 > abs(counts_of(own).mean() / 196 - masked)
    assert_alike(Counter(counts_of(own).tolist()), Counter(counts_of(other).tolist()))
    for axis in (1, 2):
        edges = [np.diff(each.astype(int), axis=axis).any(axis).sum(1) for each in (own, other)]
        assert_alike(*(Counter(e.tolist()) for e in edges))
    assert np.abs(own.mean(0) - other.mean(0)).max() < 5 * np.sqrt(2 * 0.25 / DRAWS)
    mean = own.mean(0)  # the law knows rows from columns only by the order of equal boxes
    assert np.abs(mean - mean.T).max() < 5 * np.sqrt(2 * 0.25 / DRAWS)


def test_every_region_keeps_a_part():
    """Of the last region the share is cut that was asked for; of others later ones cut or give back."""
    random.seed(0)
    shares = np.array([oracle.region_cuts(14, 0.4)[1] for _ in range(2000)])
    assert abs(shares[:, -1].mean() - 0.4) < 0.03 and abs(shares.mean() - 0.44) < 0.02 and shares.max() < 1
    assert not drawn(lambda rng: masks.region_cut_mask((14, 14), 0.0, rng), 50).any()
    few = drawn(lambda rng: masks.region_cut_mask((3, 9), 0.5, rng), 200)
    assert few.any((1, 2)).all() and not few.all((1, 2)).any()


def test_ibots_ratios():
    rng = np.random.default_rng(0)
    ratios = np.array([masks.chosen_ratio((0, 0.3), (0, 0.2), rng) for _ in range(DRAWS)])
    masked = ratios[ratios > 0]
    assert abs(len(masked) / DRAWS - 0.5) < 0.025
    assert masked.min() >= 0.1 and masked.max() <= 0.5 and abs(masked.mean() - 0.3) < 0.01
    assert np.histogram(masked, 4, (0.1, 0.5))[0].min() > 0.22 * len(masked)


@pytest.mark.parametrize('views', [1, 2, 3, 7, 8, 33, 64, 128, 129])
@pytest.mark.parametrize(('patches', 'ratio', 'share'), [(256, (0.1, 0.5), 0.5), (196, (0.1, 0.65), 0.7)])
def test_every_batch_has_the_same_spread(views, patches, ratio, share):
    masked = int(views * share)
    edges = oracle.bin_edges(*ratio, masked) if masked else []
    for seed in range(20):
        counts = masks.batch_counts(patches, views, np.random.default_rng(seed), ratio, share)
        assert counts.shape == (views,) and (counts > 0).sum() == masked
        for count, low, high in zip(sorted(counts[counts > 0]), edges, edges[1:], strict=False):
            assert int(patches * low - 1e-3) <= count <= patches * high + 1e-3  # one of each bin


def test_the_upper_edges_of_the_bins():
    """DINOv3: float32 decides, as in the official code."""
    rng = np.random.default_rng(0)
    counts = masks.batch_counts(256, 9, rng, in_bin='upper')
    assert sorted(counts.tolist()) == [0] * 5 + [51, 76, 102, 128]
    differ = 0
    for patches, masked in ((196, 49), (100, 6), (144, 24), (256, 64), (196, 32)):
        counts = masks.batch_counts(patches, 2 * masked, rng, in_bin='upper')
        expected = [int(patches * edge) for edge in torch.linspace(0.1, 0.5, masked + 1)[1:]]
        assert sorted(counts[counts > 0].tolist()) == expected
        differ += expected != [int(patches * e) for e in oracle.bin_edges(0.1, 0.5, masked)[1:]]
    assert differ


def test_masked_views_lie_anywhere_in_the_batch():
    rng = np.random.default_rng(0)
    counts = np.stack([masks.batch_counts(196, 6, rng) for _ in range(4000)])
    assert np.abs((counts > 0).mean(0) - 0.5).max() < 0.04
    assert np.ptp(counts.mean(0)) < 4


LAWS = {
    'random': lambda rng: masks.random_mask((14, 14), 0.75, rng),
    'cells': lambda rng: masks.cell_mask((14, 14), 2, 0.6, rng),
    'blocks': lambda rng: masks.block_mask((14, 14), 75, rng),
    'exact blocks': lambda rng: masks.block_mask((14, 14), 75, rng, exact=True),
    'inverse block': lambda rng: masks.inverse_block_mask((14, 14), 127, rng),
    'data2vec': lambda rng: masks.data2vec_mask((14, 14), 0.8, rng),
    'gmml': lambda rng: masks.gmml_mask((14, 14), 0.5, rng, 16),
    'region cuts': lambda rng: masks.region_cut_mask((14, 14), 0.4, rng),
}


@pytest.mark.parametrize('law', LAWS)
def test_chance_comes_from_the_generator_alone(law):
    np.random.seed(0), random.seed(0), torch.manual_seed(0)
    one = drawn(LAWS[law], 5, seed=7)
    np.random.seed(1), random.seed(1), torch.manual_seed(1)
    assert np.array_equal(one, drawn(LAWS[law], 5, seed=7))
    assert not np.array_equal(one, drawn(LAWS[law], 5, seed=8))


@pytest.mark.parametrize(
    ('law', 'message'),
    [
        (lambda rng: masks.random_mask((14, 14), 75, rng), r'random_mask: ratio must be in \[0, 1\], got 75'),
        (lambda rng: masks.random_mask((14, 14), 0.75, rng, 'ceil'), "one of .*'int', 'round'.*got 'ceil'"),
        (
            lambda rng: masks.cell_mask((14, 14), 3, 0.6, rng),
            r'cell must be a divisor of .*\(14, 14\), got 3',
        ),
        (lambda rng: masks.block_mask((14, 14), 197, rng), r'count must be in 0\.\.196 patches, got 197'),
        (lambda rng: masks.block_mask((14, 14), 9, rng, 0), 'min_area must be above 0, got 0'),
        (lambda rng: masks.block_mask((14, 14), 9, rng, aspect=(2, 1)), 'aspect must be 0 < low <= high'),
        (lambda rng: masks.inverse_block_mask((4, 4), -1, rng), r'count must be in 0\.\.16 patches, got -1'),
        (
            lambda rng: masks.some_of(np.ones((4, 4), bool), 5, rng),
            r'some_of: share must be in \[0, 1\], got 5',
        ),
        (lambda rng: masks.data2vec_mask((4, 4), 0.8, rng, 0), 'length must be at least 1, got 0'),
        (
            lambda rng: masks.gmml_mask((4, 4), 0.5, rng, 16, 0.2),
            'max_side must be more than a patch, got 0.2',
        ),
        (lambda rng: masks.region_cut_mask((14, 14), 40, rng), r'ratio must be in \[0, 1\], got 40'),
        (lambda rng: masks.region_cut_mask((2, 14), 0.4, rng), 'grid must be of at least 3 patches a side'),
        (lambda rng: masks.region_cut_mask((9, 9), 0.4, rng, area=(0, 1)), 'area must be 0 < low <= high'),
        (lambda rng: masks.batch_counts(16, 2, rng, (0.5, 0.1)), 'ratio must be 0 <= low <= high <= 1'),
        (lambda rng: masks.batch_counts(16, 2, rng, share=2), r'share must be in \[0, 1\], got 2'),
        (lambda rng: masks.batch_counts(16, 2, rng, in_bin='mid'), "one of .*'uniform', 'upper'.*got 'mid'"),
    ],
)
def test_what_cannot_be_drawn(law, message):
    with pytest.raises(ValueError, match=message):
        law(np.random.default_rng(0))
