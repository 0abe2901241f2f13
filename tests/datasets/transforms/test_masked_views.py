"""Masks on their way from a view's recipe to the batch."""

import numpy as np
import pytest
import torch

from densecl.datasets.transforms import MultiView
from densecl.structures import Views

RANDOM = {'type': 'RandomMask', 'patch': 16, 'ratio': 0.75}


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
        assert batch.masks[v].dtype == torch.bool and torch.equal(
            (~batch.masks[v]).sum((1, 2)), torch.full((3,), kept)
        )
        assert torch.equal(batch.masks[v], torch.stack([s.masks[v] for s in samples]))
    assert (
        len(
            {tuple(m.flatten().tolist()) for m in batch.masks[2]}
            | {tuple(m.flatten().tolist()) for m in batch.masks[3]}
        )
        > 3
    )  # each view and image draws its own


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
    ('view', 'message'),
    [
        ({'size': 224, 'mask': {**RANDOM, 'patch': 15}}, 'size 224 x 224 .* patches of 15 px'),
        ({'size': (64, 72), 'mask': RANDOM}, 'size 64 x 72 .* patches of 16 px'),
        ({'mask': {**RANDOM, 'ratio': 75}}, r'ratio must be a share in \[0, 1\], got 75'),
        ({'mask': {**RANDOM, 'patch': 0}}, 'patch must be a side in pixels, above 0, got 0'),
        ({'mask': 0.75}, 'mask must be such as .*RandomMask.*got 0.75'),
        ({'mask': {'type': 'MultiView', 'views': [{}]}}, 'mask must be such as'),
    ],
)
def test_what_cannot_be_masked(view, message):
    with pytest.raises(ValueError, match=message):
        MultiView([view])
