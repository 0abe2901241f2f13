"""Pairs of patches lie where their answer says, with a gap between, and keep one colour."""

import numpy as np
import pytest
import torch

from densecl.datasets.transforms import ContextPairs, MultiView
from densecl.datasets.transforms.context import LEVELS, spoil

PLACES = {0: (-1, -1), 1: (0, -1), 2: (1, -1), 3: (-1, 0), 4: (1, 0), 5: (-1, 1), 6: (0, 1), 7: (1, 1)}
SMALL = dict(type='ContextPairs', patch=24, gap=12, jitter=3, pixels=(8_000, 20_000), pairs=3)
PLAIN = dict(SMALL, drop_colours=False, coarse=0)


def ramp(height=120, width=160) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y, np.zeros_like(x)], -1).astype(np.uint8)


def make(view, seed, image=None):
    image = ramp() if image is None else image
    return MultiView([view])({'image': image, 'rng': np.random.default_rng(seed)})


def test_the_second_patch_lies_where_the_answer_says():
    answers = []
    for seed in range(60):
        sample = make(PLAIN, seed)
        assert [tuple(x.shape) for x in sample.images] == [(24, 24, 3)] * 6
        assert sample.answers[::2].tolist() == [-1] * 3
        for first, second, answer in zip(
            sample.boxes[::2], sample.boxes[1::2], sample.answers[1::2], strict=True
        ):
            scale = (first[2:] - first[:2]) / 24  # image pixels a patch pixel
            moved = ((second - first)[:2] / scale).tolist()
            for step, sign in zip(moved, PLACES[int(answer)], strict=True):
                assert abs(step - 36 * sign) <= 6.01  # both are moved by up to 3
            answers.append(int(answer))
        assert (sample.boxes[:, :2] >= -1e-4).all()
        assert (sample.boxes[:, 2:] <= torch.tensor([160.0, 120]) + 1e-3).all()
    assert np.bincount(answers, minlength=8).min() > 8  # 22 expected


def test_patches_show_what_their_boxes_say():
    sample = make(PLAIN, 0)
    for view, box in zip(sample.images, sample.boxes, strict=True):
        middle = (box[:2] + box[2:]) / 2 - 0.5
        assert (view.float().mean((0, 1))[:2] - middle).abs().max() < 1


def test_one_colour_is_kept():
    image, kept = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8), set()
    for seed in range(12):
        sample, plain = make(dict(PLAIN, drop_colours=True), seed, image), make(PLAIN, seed, image)
        for view, whole in zip(sample.images, plain.images, strict=True):
            same = [bool((view[..., c] == whole[..., c]).all()) for c in range(3)]
            assert sum(same) == 1
            for c in range(3):
                if not same[c]:
                    assert set(view[..., c].unique().tolist()) == {LEVELS[c], LEVELS[c] + 1}
            kept.add(same.index(True))
    assert kept == {0, 1, 2}


def test_a_coarse_copy_has_lost_what_is_fine():
    checks = (np.indices((24, 24)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, 2)
    assert np.array_equal(spoil(checks, 24, None, 0), checks)
    coarse = spoil(checks, 6, None, 0)
    assert coarse.shape == checks.shape and coarse.std() < 2 and abs(float(coarse.mean()) - 127.5) < 1


@pytest.mark.parametrize('shape', [(20, 300), (300, 20), (1, 1), (40, 40)])
def test_odd_photos_are_made_large_enough(shape):
    sample = make(PLAIN, 0, np.full((*shape, 3), 9, np.uint8))
    assert all((x == 9).all() for x in sample.images)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(jitter=30), 'jitter must be at most half the gap'),
        (dict(pixels=(10, 5)), 'pixels must be'),
        (dict(coarse=2), 'coarse must be a probability, got 2'),
        (dict(pairs=0), 'pairs must be above 0'),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=f'ContextPairs: {message}'):
        ContextPairs(**arguments)


def test_other_sensors_have_no_colours_to_drop():
    with pytest.raises(ValueError, match='drop_colours is for 8-bit RGB, the images have 4 channels'):
        ContextPairs().check_images(4, 'uint16')
