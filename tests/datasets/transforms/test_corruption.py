"""Corruption as an option of a view: which pixels, and what by."""

import numpy as np
import pytest
import torch

from densecl.datasets.transforms import MultiView
from densecl.structures import Views

DROP = {'mask': {'type': 'GMMLMask', 'ratio': 0.5}, 'fill': 'zeros'}
NOISE = {**DROP, 'fill': 'noise'}
REPLACE = {'mask': {'type': 'GMMLMask', 'ratio': 0.3}, 'fill': 'batch'}


def samples_of(views, count):
    image = np.random.default_rng(1).integers(0, 256, (40, 50, 3), np.uint8)
    transform = MultiView(views)
    return [transform({'image': image, 'rng': np.random.default_rng(seed)}) for seed in range(count)]


@pytest.mark.parametrize('entries', [[DROP, REPLACE], [DROP, NOISE, REPLACE]])
def test_each_view_draws_an_entry(entries):
    """SiT: of n kinds of zeros and noise, and another image, each in 1 / (n + 1) of the views."""
    batch = Views.collate(samples_of([{'size': 24, 'corruption': entries}, {'size': 24}], 4000))
    (drawn, none), shares = batch.corruptions, batch.masks[0].float().mean((1, 2)).numpy()
    assert none is None and batch.masks[1] is None and drawn.donor.shape == (4000,)
    replaced, noisy = drawn.donor >= 0, drawn.noise_seed >= 0
    assert not (replaced & noisy).any()
    want = 1 / len(entries)
    assert abs(replaced.mean() - want) < 0.03 and abs(noisy.mean() - want * (len(entries) == 3)) < 0.03
    most = 7**2 / 24**2  # the last rectangle
    assert (shares[replaced] >= 0.3).all() and (shares[replaced] < 0.3 + most).all()
    assert (shares[~replaced] >= 0.5).all() and (shares[~replaced] < 0.5 + most).all()
    donors, given = drawn.donors()
    assert np.array_equal(given, replaced) and donors[given].min() < 40 and donors[given].max() > 3960
    counts = np.histogram(donors[given], 8, (0, 4000))[0]
    assert np.abs(counts / given.sum() - 1 / 8).max() < 0.025


def test_the_view_is_drawn_as_without():
    plain = {'size': 24, 'photometric': {'brightness': 0.4, 'jitter_prob': 0.8}}
    (one,), (other,) = (samples_of([{**plain, **more}], 1) for more in ({}, {'corruption': [DROP]}))
    assert torch.equal(one.images[0], other.images[0]) and one.corruptions is None
    assert np.array_equal(one.photometric[0].values, other.photometric[0].values)


@pytest.mark.parametrize(
    ('view', 'message'),
    [
        ({'corruption': []}, 'corruption must be entries such as .* got '),
        ({'corruption': DROP}, r'views\[0\].corruption: ViewRecipe takes Sequence.*, got .*mask'),
        ({'corruption': [DROP], 'mask': {'type': 'GMMLMask'}}, 'and mask=None'),
        ({'corruption': [{**DROP, 'fill': 'grey'}]}, "fill must be .*'batch'.*got 'grey'"),
        ({'corruption': [{'mask': 0.5}]}, 'corruption: mask must be such as .*GMMLMask.*got 0.5'),
        ({'corruption': [{**DROP, 'share': 1}]}, 'corruption.0.share: Replacement does not take this'),
        (
            {'corruption': [DROP, {'mask': {'type': 'GMMLMask', 'patch': 16}}]},
            'corruption must be of masks with the same patch',
        ),
        (
            {'corruption': [{'mask': {'type': 'BlockMask', 'ratio': {'type': 'BatchRatios'}}}]},
            'of masks that each view draws by itself',
        ),
        (
            {'corruption': [DROP | {'mask': {'type': 'InverseBlockMask', 'ratio': 0.5, 'asked': 0.05}}]},
            "^corruption: mask's asked must be None, got 0.05: .*leave it out, or .* as mask=",
        ),
    ],
)
def test_what_cannot_be_drawn(view, message):
    with pytest.raises(ValueError, match=message):
        MultiView([view])
