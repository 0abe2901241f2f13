"""Replaced pixels of a batch, one by one."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from densecl.colors import gray_of
from densecl.datasets.transforms.photometric import Photometric
from densecl.models.data_preprocessors import PretrainDataPreprocessor
from densecl.models.data_preprocessors.corruption import corrupt
from densecl.structures import Corruption
from densecl.structures.views import stack
from tests.models.heads.made import make_views
from tests.oracles.colors import lab_of

# 0, of image 2, noise, of image 0
DRAWN = Corruption(np.array([-1.0, 0.74, -1.0, 0.0]), np.array([-1, -1, 7, -1]), np.zeros(4, bool))
MEAN, STD = (torch.tensor(x).view(3, 1, 1) for x in ([120.0, 110.0, 100.0], [60.0, 50.0, 40.0]))


def made(patch=4):
    torch.manual_seed(0)
    return torch.randn(4, 3, 8, 16), torch.rand(4, 8 // patch, 16 // patch) < 0.5


@pytest.mark.parametrize('patch', [1, 4])
def test_pixel_by_pixel(patch):
    images, mask = made(patch)
    before, found = images.clone(), corrupt(images, mask, DRAWN, MEAN, STD)
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
    one = corrupt(images, mask, DRAWN, MEAN, STD)[2]
    part = Corruption(DRAWN.donor[2:3], DRAWN.noise_seed[2:3], DRAWN.gray[2:3])
    assert torch.equal(corrupt(images[2:3], mask[2:3], part, MEAN, STD)[0], one)
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
    assert torch.equal(done.replaced(0), corrupt(plain.images[0], views.masks[0], DRAWN, MEAN, STD))
    assert done.replaced(0).is_contiguous(memory_format=torch.channels_last)


def test_grey_keeps_the_lightness_of_the_photo():
    """In the photo's own colours: the normalisation is undone, and done again."""
    pixels = torch.randint(0, 256, (4, 3, 8, 16), generator=torch.Generator().manual_seed(1)).double()
    images, (_, mask) = (pixels - MEAN) / STD, made()
    drawn = Corruption(np.full(4, -1.0), np.full(4, -1), np.array([True, False, True, False]))
    found = corrupt(images, mask, drawn, MEAN, STD) * STD + MEAN
    for b, y, x in np.ndindex(4, 8, 16):
        own, seen = pixels[b, :, y, x].tolist(), found[b, :, y, x].tolist()
        if not mask[b, y // 4, x // 4]:
            assert seen == pytest.approx(own)
        elif b in (0, 2):
            assert max(seen) - min(seen) < 1e-9
            assert lab_of([c / 255 for c in seen])[0] == pytest.approx(
                lab_of([c / 255 for c in own])[0], abs=1e-5
            )
        else:
            assert seen == pytest.approx(MEAN.flatten().tolist())


def test_grey_is_of_what_was_coloured_on_the_device():
    """Photometric augmentation first; then the target sees colours, and the student their grey."""
    rng = np.random.default_rng(0)
    views = make_views(batch=2, count=1, side=8)
    views.images = [torch.from_numpy(rng.integers(0, 256, (2, 8, 8, 3), np.uint8))]
    views.masks, views.hidden_counts = [torch.ones(2, 8, 8, dtype=torch.bool)], [(64, 64)]
    params = Photometric(brightness=0.4, hue=0.3, saturation=0.4, jitter_prob=1.0)
    views.photometric = [stack([params.draw(np.random.default_rng(s)) for s in range(2)])]
    views.corruptions = [stack([Corruption.of(gray=True)] * 2)]
    done = PretrainDataPreprocessor()({'inputs': views})['inputs']
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)))
    clean, seen = ((x * std + mean) / 255 for x in (done.images[0], done.replaced(0)))
    assert (clean - views.images[0].permute(0, 3, 1, 2) / 255).abs().max() > 0.05  # recoloured
    torch.testing.assert_close(seen, gray_of(clean).expand_as(seen), rtol=0, atol=1e-5)
