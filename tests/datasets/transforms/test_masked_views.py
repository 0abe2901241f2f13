"""Masks on their way from a view's recipe to the sample."""

from pathlib import Path

import numpy as np
import pytest
import torch

from densecl.datasets.transforms import CentreMask, MultiView, ViewRecipe
from densecl.structures import BatchMask, Views

RANDOM = {'type': 'RandomMask', 'patch': 16, 'ratio': 0.75}
CHOICE, BATCH = {'type': 'RatioChoice'}, {'type': 'BatchRatios'}


def sample_of(views, seed=0, **options):
    image = np.random.default_rng(1).integers(0, 256, (90, 120, 3), np.uint8)
    return MultiView(views, **options)({'image': image, 'rng': np.random.default_rng(seed)})


def test_masks_of_some_views():
    views = [{'size': 64, 'mask': RANDOM}, {'size': 64}, {'count': 2, 'size': (32, 96), 'mask': RANDOM}]
    samples = [sample_of(views, seed) for seed in range(3)]
    batch = Views.collate(samples)
    assert batch.masks[1] is None and all(s.masks[1] is None for s in samples)
    shapes = {v: batch.masks[v].shape for v in (0, 2, 3)}
    assert shapes == {0: (3, 4, 4), 2: (3, 2, 6), 3: (3, 2, 6)}
    for v, kept in ((0, 4), (2, 3), (3, 3)):
        assert batch.masks[v].dtype == torch.bool
        assert torch.equal((~batch.masks[v]).sum((1, 2)), torch.full((3,), kept))
        assert torch.equal(batch.masks[v], torch.stack([s.masks[v] for s in samples]))
    assert len(torch.cat([batch.masks[2], batch.masks[3]]).flatten(1).unique(dim=0)) > 3  # each its own


def test_no_view_masked():
    sample = sample_of([{'count': 2, 'size': 64}])
    assert sample.masks is None and Views.collate([sample, sample]).masks is None


def test_a_mask_is_drawn_after_all_else_of_its_view():
    """The last view may be masked, and nothing else is drawn otherwise."""
    photometric = {'brightness': 0.4, 'jitter_prob': 0.8, 'blur_prob': 0.5}
    plain = {'count': 1, 'size': 64, 'photometric': photometric}
    one, other = (sample_of([plain, {**plain, **more}]) for more in ({}, {'mask': RANDOM}))
    assert all(map(torch.equal, one.images, other.images)) and torch.equal(one.flipped, other.flipped)
    for a, b in zip(one.photometric, other.photometric, strict=True):
        assert np.array_equal(a.values, b.values)


@pytest.mark.parametrize(
    ('mask', 'size', 'counts'),
    [
        (RANDOM, 224, {147}),  # MAE
        ({**RANDOM, 'patch': 32, 'ratio': 0.6}, 224, {30}),  # FCMAE
        ({**RANDOM, 'patch': 32, 'ratio': 0.6, 'rounding': 'round'}, 224, {29}),  # SparK
        ({'type': 'CellMask'}, 224, {120}),  # SimMIM, ViT
        ({'type': 'CellMask', 'patch': 4}, 192, {1408}),  # SimMIM, Swin
        ({'type': 'BlockMask', 'count': 75}, 224, set(range(60, 76))),  # BEiT
        ({'type': 'BlockMask', 'count': 75, 'exact': True}, 224, {75}),  # BEiT v2
        ({'type': 'BlockMask', 'ratio': CHOICE}, 224, {0, *range(10, 99)}),  # iBOT
        ({'type': 'BlockMask', 'ratio': CHOICE}, 96, set(range(19))),
        ({'type': 'InverseBlockMask', 'patch': 14, 'ratio': 0.65}, 224, {166}),  # CAPI
        ({'type': 'Data2VecMask'}, 224, {157}),
        ({'type': 'GMMLMask', 'patch': 16}, 224, set(range(98, 114))),  # SiT, aligned
        ({'type': 'RegionCutMask', 'ratio': {**CHOICE, 'ratios': [0, 0.4]}}, 224, set(range(130))),
    ],
)
def test_official_settings(mask, size, counts):
    seen = []
    for seed in range(12):
        (found,) = sample_of([{'size': size, 'mask': mask}], seed).masks
        side = size // mask.get('patch', 16)
        assert found.shape == (side, side) and found.dtype == torch.bool
        seen.append(found)
    assert {int(found.sum()) for found in seen} <= counts
    assert len(torch.stack(seen).flatten(1).unique(dim=0)) > 4


def test_a_share_of_the_masked_patches_is_asked_for():
    law = {'type': 'InverseBlockMask', 'patch': 14, 'ratio': 0.65, 'asked': 0.05}  # CAPI
    samples = [sample_of([{'size': 224, 'mask': law}, {'size': 32}], seed) for seed in (0, 0, 1)]
    for sample in samples:
        (mask, _), (asked, none) = sample.masks, sample.asked
        assert asked.shape == (8,) and mask.flatten()[asked].all() and none is None
    assert torch.equal(samples[0].asked[0], samples[1].asked[0])
    batch = Views.collate(samples)
    assert batch.mask(0).asked_places().shape == (3, 8) and batch.mask(1) is None
    whole = sample_of([{'size': 224, 'mask': {**law, 'asked': None}}])
    assert whole.asked is None and torch.equal(whole.masks[0], samples[0].masks[0])


def test_settings_in_the_documentation():
    text = (Path(__file__).parents[3] / 'docs/masks.md').read_text()
    rows = [line.split('|')[1:3] for line in text.splitlines() if '`dict(type=' in line]
    assert len(rows) == 17
    for method, code in rows:
        size = next((px for px in (128, 192, 256) if f'{px} px' in method), 224)
        ViewRecipe(size=size, mask=eval(code.strip(' `')))


def test_a_view_of_single_pixels():
    (mask,) = sample_of([{'size': (48, 64), 'mask': {'type': 'GMMLMask'}}]).masks
    assert mask.shape == (48, 64) and 0.5 <= mask.float().mean() < 0.6


def test_the_smallest_block_follows_the_grid():
    """iBOT's: 16 patches of 14 x 14, 4 of 6 x 6, which lets a mask of 7 be made of two blocks."""
    law = ViewRecipe(size=224, mask={'type': 'BlockMask', 'count': 75}).mask
    from densecl.datasets.transforms.masks import block_mask

    for grid, least in (((14, 14), 16), ((6, 6), 4), ((2, 2), 1)):
        count = grid[0] * grid[1] / 3
        rngs = np.random.default_rng(3), np.random.default_rng(3)
        assert np.array_equal(law.draw_count(grid, count, rngs[0]), block_mask(grid, count, rngs[1], least))


def test_a_mask_of_the_batch_waits():
    (mask,) = sample_of([{'size': 64, 'mask': {'type': 'BlockMask', 'ratio': BATCH}}]).masks
    assert isinstance(mask, BatchMask) and mask.grid == (4, 4)
    other = sample_of([{'size': 64, 'mask': {'type': 'BlockMask', 'ratio': BATCH}}], seed=1).masks[0]
    assert other.law == mask.law and other.seed != mask.seed


@pytest.mark.parametrize(
    ('view', 'message'),
    [
        ({'size': 224, 'mask': {**RANDOM, 'patch': 15}}, 'patch=15 px does not divide .* size 224 x 224'),
        ({'size': (64, 72), 'mask': RANDOM}, 'RandomMask: patch=16 px does not divide .* size 64 x 72'),
        (
            {'size': 240, 'mask': {'type': 'CellMask'}},
            'CellMask: cell=32 px does not divide .* size 240 x 240',
        ),
        ({'mask': {**RANDOM, 'ratio': 75}}, r'ratio must be a share in \[0, 1\], got 75'),
        ({'mask': {**RANDOM, 'patch': 0}}, 'patch must be a side in pixels, above 0, got 0'),
        ({'mask': {**RANDOM, 'rounding': 'ceil'}}, "rounding must be 'int' or 'round', got 'ceil'"),
        (
            {'size': 32, 'mask': {'type': 'CentreMask', 'side': 32}},
            'CentreMask: side must be below .* 32 x 32, got 32',
        ),
        (
            {'mask': {'type': 'CentreMask', 'side': 40}},
            'CentreMask: side must be a multiple of patch=16, got 40',
        ),
        ({'mask': 0.75}, 'mask must be such as .*RandomMask.*got 0.75'),
        ({'mask': {'type': 'MultiView', 'views': [{}]}}, 'mask must be such as'),
        ({'mask': {'type': 'CellMask', 'cell': 24}}, 'cell must be a multiple of patch=16, got 24'),
        ({'mask': {'type': 'BlockMask'}}, 'BlockMask: count must be given, or ratio, not both, got None'),
        (
            {'mask': {'type': 'BlockMask', 'count': 9, 'ratio': 0.5}},
            'count must be given, or ratio, not both',
        ),
        (
            {'size': 64, 'mask': {'type': 'BlockMask', 'count': 17}},
            r'in 0\.\.16 patches of .* 64 x 64, got 17',
        ),
        (
            {'mask': {'type': 'InverseBlockMask', 'ratio': BATCH, 'asked': 0.05}},
            'ratio must be a number with asked, so that all views are asked as often',
        ),
        (
            {'mask': {'type': 'InverseBlockMask', 'ratio': 0.5, 'asked': 5}},
            'asked must be a share in .0, 1., or None',
        ),
        ({'mask': {'type': 'BlockMask', 'ratio': 40}}, r'ratio must be a share in \[0, 1\], got 40'),
        (
            {'mask': {'type': 'BlockMask', 'ratio': RANDOM}},
            'ratio must be a share, RatioChoice or BatchRatios',
        ),
        ({'mask': {'type': 'BlockMask', 'count': 9, 'min_area': 0}}, 'min_area must be above 0 patches'),
        (
            {'mask': {'type': 'InverseBlockMask', 'ratio': 0.5, 'aspect': [2, 1]}},
            'aspect must be 0 < low <= high',
        ),
        (
            {'mask': {'type': 'BlockMask', 'ratio': {**CHOICE, 'spreads': [0.1, 0.2]}}},
            'spreads must have for each',
        ),
        ({'mask': {'type': 'BlockMask', 'ratio': {**BATCH, 'in_bin': 'mid'}}}, "uniform.*upper.*got 'mid'"),
        ({'mask': {'type': 'Data2VecMask', 'length': 0}}, 'length must be at least 1, got 0'),
        (
            {'mask': {'type': 'RegionCutMask', 'ratio': 0.4, 'inverted': 2}},
            r'inverted must be a share in \[0, 1\], got 2',
        ),
        (
            {'size': 32, 'mask': {'type': 'GMMLMask', 'patch': 16}},
            'max_side must be more than 16 px, got 0.3',
        ),
    ],
)
def test_what_cannot_be_masked(view, message):
    with pytest.raises(ValueError, match=message):
        MultiView([view])


def test_a_square_in_the_middle():
    law, rng = CentreMask(patch=1, side=56), np.random.default_rng(0)
    mask = law.draw(law.grid((128, 128)), rng)
    rows, columns = mask.nonzero()
    assert mask.sum() == 56**2 and {rows.min(), columns.min()} == {36} and {rows.max(), columns.max()} == {91}
    coarse = CentreMask(patch=16, side=32)
    assert (
        coarse.draw(coarse.grid((96, 64)), rng).tolist()
        == [[0, 0, 0, 0]] * 2 + [[0, 1, 1, 0]] * 2 + [[0] * 4] * 2
    )
