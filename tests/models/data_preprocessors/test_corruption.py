"""Replaced pixels of a batch, one by one."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from densecl.models.data_preprocessors import PretrainDataPreprocessor
from densecl.models.data_preprocessors.corruption import corrupt
from densecl.structures import Corruption
from tests.models.heads.made import make_views

DRAWN = Corruption(np.array([-1.0, 0.74, -1.0, 0.0]), np.array([-1, -1, 7, -1]))  # 0, of image 2, noise, of 0


def made(patch=4):
    torch.manual_seed(0)
    return torch.randn(4, 3, 8, 16), torch.rand(4, 8 // patch, 16 // patch) < 0.5


@pytest.mark.parametrize('patch', [1, 4])
def test_pixel_by_pixel(patch):
    images, mask = made(patch)
    before, found = images.clone(), corrupt(images, mask, DRAWN)
    assert torch.equal(images, before)
    noise = torch.randn(3, 8, 16, generator=torch.Generator().manual_seed(7))
    for b in range(4):
        for y in range(8):
            for x in range(16):
                own, there = before[:, :, y, x], noise[:, y, x]
                filling = [torch.zeros(3), own[2], there, own[0]]
                want = filling[b] if mask[b, y // patch, x // patch] else own[b]
                assert torch.equal(found[b, :, y, x], want)


def test_noise_depends_on_the_seed_alone():
    images, mask = made()
    mask[:] = True
    one = corrupt(images, mask, DRAWN)[2]
    part = Corruption(DRAWN.donor[2:3], DRAWN.noise_seed[2:3])
    assert torch.equal(corrupt(images[2:3], mask[2:3], part)[0], one)
    assert abs(one.mean()) < 0.15 and abs(one.std() - 1) < 0.1


def test_views_keep_what_is_clean():
    """After the preprocessor: clean images as without a corruption, corrupted ones beside them."""
    rng = np.random.default_rng(0)
    views = make_views(batch=4, count=2, side=8)
    views.images = [torch.from_numpy(rng.integers(0, 256, (4, 8, 8, 3), np.uint8)) for _ in range(2)]
    views.masks, views.hidden_counts = [torch.rand(4, 8, 8) < 0.5, None], [(1, 60), None]
    plain = PretrainDataPreprocessor()({'inputs': views})['inputs']
    assert plain.replaced(0) is None and plain.mask(0) is not None
    done = PretrainDataPreprocessor()({'inputs': replace(views, corruptions=[DRAWN, None])})['inputs']
    assert done.corruptions is None and done.replaced(1) is None
    assert all(map(torch.equal, done.images, plain.images))
    assert torch.equal(done.replaced(0), corrupt(plain.images[0], views.masks[0], DRAWN))
    assert done.replaced(0).is_contiguous(memory_format=torch.channels_last)
