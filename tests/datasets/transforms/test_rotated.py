"""A turned view is the plain one turned, pixel by pixel, and says how far."""

import numpy as np
import pytest
import torch

from densecl.datasets.transforms import MultiView, RotatedView
from densecl.datasets.transforms.sample import make_sample
from densecl.structures import Views, view_to_image

CROP = dict(size=48, scale=(0.3, 1.0), flip=0.5)


def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)


def make(views, seed, **kwargs):
    return MultiView(views, **kwargs)({'image': photo(), 'rng': np.random.default_rng(seed)})


def quarter_turns(image, k):
    """Counter-clockwise, by index: the pixel of row i and column j comes from row j of the last columns."""
    for _ in range(k):
        side = len(image)
        image = np.array([[image[j, side - 1 - i] for j in range(side)] for i in range(side)])
    return image


def test_all_four_turns_of_one_crop():
    seen = set()
    for seed in range(6):
        sample = make([dict(CROP, type='RotatedView', every=True)], seed)
        plain = make([CROP], seed)
        assert sample.answers.tolist() == [0, 1, 2, 3] and sample.answers.dtype == torch.int64
        for k, view in enumerate(sample.images):
            assert np.array_equal(view.numpy(), quarter_turns(plain.images[0].numpy(), k))
            assert np.array_equal(view.numpy(), np.rot90(plain.images[0].numpy(), k))
            assert view.is_contiguous()
        assert torch.equal(sample.boxes, plain.boxes.expand(4, -1))
        seen |= set(sample.flipped.tolist())
    assert seen == {True, False}


def test_one_turn_at_random():
    answers = []
    for seed in range(200):
        sample, plain = make([dict(CROP, type='RotatedView')], seed), make([CROP], seed)
        (k,) = sample.answers.tolist()
        assert np.array_equal(sample.images[0].numpy(), np.rot90(plain.images[0].numpy(), k))
        answers.append(k)
    counts = np.bincount(answers, minlength=4)
    assert len(counts) == 4 and counts.min() > 30  # 50 expected, standard deviation 6


def test_a_view_of_the_same_crop_is_turned_alike():
    turns = set()
    for seed in range(20):
        sample = make([dict(CROP, type='RotatedView'), dict(CROP, crop_of=0, flip=None)], seed)
        assert torch.equal(*sample.images) and torch.equal(*sample.warps)
        turns.add(int(sample.answers[0]))
        assert sample.answers[1] == -1  # it is not asked
    assert len(turns) == 4


def test_a_turned_view_is_recoloured_as_any():
    views = [dict(CROP, type='RotatedView', photometric=dict(brightness=0.4, jitter_prob=1.0), every=True)]
    worker = make(views, 0, photometric_on='worker')
    for k, view in enumerate(worker.images):  # one draw for all four
        assert np.array_equal(view.numpy(), np.rot90(worker.images[0].numpy(), k))


def test_views_without_an_answer_and_batches():
    views = [CROP, dict(CROP, type='RotatedView', count=2)]
    samples = [make(views, seed) for seed in range(3)]
    batch = Views.collate(samples)
    assert batch.answers.shape == (3, 3) and batch.answers[0].tolist() == [-1, -1, -1]
    assert torch.equal(batch.answers[1:], torch.stack([s.answers[1:] for s in samples], 1))
    assert (batch.answers[1:] >= 0).all() and batch.to('meta').answers.device.type == 'meta'
    assert Views.collate([make([CROP], 0)]).answers is None
    assert batch.warp(0) is None and batch.warp(1).shape == (3, 3, 3)


@pytest.mark.parametrize('warp', [None, dict(rotation=(20, 40), perspective=0.2)])
def test_geometry_knows_of_the_turn(warp):
    """On a ramp a value is a place: each view pixel, mapped by the sample's geometry, is there."""
    y, x = np.mgrid[:200, :240] + 0.5
    ramp, side = np.stack([x, y], -1).astype(np.float32), 40
    grid = torch.stack(torch.meshgrid(*[torch.arange(side) + 0.5] * 2, indexing='xy'), -1).double()
    points = grid.flatten(0, 1).expand(4, -1, -1)
    recipe = RotatedView(size=side, scale=(0.1, 0.3), warp=warp, every=True)
    for seed in range(6):
        results = dict(image=ramp, rng=np.random.default_rng(seed), channels=2)
        sample = make_sample(results, recipe.draw(ramp, results['rng']))
        warps = torch.stack(sample.warps)
        where = view_to_image(points, sample.boxes.double(), sample.flipped, (side, side), warps)
        pixels = torch.stack(sample.images).flatten(1, 2).double()
        inside = ((where > 2) & (where < torch.tensor([238.0, 198]))).all(-1)
        assert inside.float().mean() > 0.6
        assert (pixels - where)[inside].abs().max() < 0.6


def test_only_squares_can_be_turned():
    with pytest.raises(ValueError, match='view recipe: size must be a square'):
        RotatedView(size=(48, 64))
