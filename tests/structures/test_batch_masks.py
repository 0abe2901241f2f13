"""Masks that are drawn with those of a batch, and masks on their way to the device."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from torch._subclasses.fake_tensor import FakeTensorMode

from densecl.datasets import collate_views
from densecl.datasets.transforms import MultiView
from densecl.models.data_preprocessors import PretrainDataPreprocessor
from densecl.planning.fake import fake_views, map_views

BATCH = {'type': 'BatchRatios', 'ratio': [0.1, 0.5], 'share': 0.5}
DINO = {'type': 'BlockMask', 'patch': 8, 'ratio': BATCH, 'min_area': 4, 'max_area': 32}
EXACT = {**DINO, 'ratio': {**BATCH, 'in_bin': 'upper'}, 'exact': True}
FRANCA = {'type': 'InverseBlockMask', 'patch': 8, 'ratio': {**BATCH, 'ratio': [0.1, 0.65]}}
IMAGE = np.random.default_rng(1).integers(0, 256, (70, 80, 3), np.uint8)


def samples_of(views, count, first=0):
    transform = MultiView([ConfigDict(view) for view in views])
    return [transform({'image': IMAGE, 'rng': np.random.default_rng(first + i)}) for i in range(count)]


def batch_of(views, count, first=0):
    return collate_views(samples_of(views, count, first))['inputs']


def global_crops(mask):
    """As DINO's: two recipes, as their colours differ, with equal masks; and local crops without."""
    photometric = {'blur_prob': 0.1}
    return [
        {'size': 64, 'mask': mask},
        {'size': 64, 'mask': dict(mask), 'photometric': photometric},
        {'count': 2, 'size': 32},
    ]


@pytest.mark.parametrize('count', [1, 2, 3, 5, 8])
def test_half_of_all_global_crops_are_masked(count):
    """The crops of both recipes together: of an odd number of images, too."""
    for first in (0, 100):
        masks = batch_of(global_crops(EXACT), count, first).masks
        assert [m is None for m in masks] == [False, False, True, True]
        assert all(m.shape == (count, 8, 8) and m.dtype == torch.bool for m in masks[:2])
        found = torch.cat(masks[:2]).sum((1, 2))
        expected = [int(64 * edge) for edge in torch.linspace(0.1, 0.5, count + 1)[1:]]
        assert sorted(found.tolist()) == [0] * count + expected
    per_view = [
        int((batch_of(global_crops(EXACT), 4, s).masks[0].sum((1, 2)) > 0).sum()) for s in range(0, 80, 4)
    ]
    assert len(set(per_view)) > 2  # half of all crops, not of each view


def test_at_most_and_inverse_blocks():
    counts = torch.cat(batch_of(global_crops(DINO), 8).masks[:2]).sum((1, 2))
    edges = [64 * float(e) for e in torch.linspace(0.1, 0.5, 9)]
    masked = sorted(counts[counts > 0].tolist())
    assert len(masked) == 8 and all(c <= high for c, high in zip(masked, edges[1:], strict=True))
    counts = torch.cat(batch_of(global_crops(FRANCA), 8).masks[:2]).sum((1, 2))
    edges = [64 * float(e) for e in torch.linspace(0.1, 0.65, 9)]
    masked = sorted(counts[counts > 0].tolist())
    assert all(int(low) <= c <= high for c, low, high in zip(masked, edges[:-1], edges[1:], strict=True))


def test_unlike_masks_are_spread_apart():
    views = [{'size': 64, 'mask': EXACT}, {'size': 64, 'mask': FRANCA}, {'size': 48, 'mask': EXACT}]
    masks = batch_of(views, 6).masks
    assert [tuple(m.shape[1:]) for m in masks] == [(8, 8), (8, 8), (6, 6)]
    assert [int((m.sum((1, 2)) > 0).sum()) for m in masks] == [3, 3, 3]


def test_masks_follow_from_the_samples():
    """The same samples in the same order: the same masks; other samples, or another order: others."""
    one, again, other = (batch_of(global_crops(DINO), 6, first).masks for first in (0, 0, 50))
    assert all(torch.equal(a, b) for a, b in zip(one[:2], again[:2], strict=True))
    assert not torch.equal(one[0], other[0])
    samples = samples_of(global_crops(DINO), 6)
    turned = collate_views(samples[::-1])['inputs'].masks
    assert not torch.equal(turned[0], one[0].flip(0))
    samples[5] = samples_of(global_crops(DINO), 1, first=70)[0]
    assert not torch.equal(collate_views(samples)['inputs'].masks[0][:5], one[0][:5])


def test_masks_after_the_preprocessor():
    batch = batch_of([{'size': 64, 'mask': EXACT}, {'size': 32}], 4)
    done = PretrainDataPreprocessor()({'inputs': batch})['inputs']
    assert torch.equal(done.masks[0], batch.masks[0]) and done.masks[1] is None
    assert batch.to('cpu').masks[0].dtype == torch.bool
    assert batch.to('meta').masks[0].device.type == 'meta' and batch.to('meta').masks[1] is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason='page-locked memory needs a GPU')
def test_masks_in_page_locked_memory():
    batch = batch_of([{'size': 64, 'mask': EXACT}, {'size': 32}], 4).pin_memory()
    assert batch.masks[0].is_pinned() and batch.masks[1] is None
    assert torch.equal(batch.to('cuda').masks[0].cpu(), batch.masks[0])


def test_masks_of_a_planned_batch():
    batch = PretrainDataPreprocessor()({'inputs': batch_of([{'size': 64, 'mask': EXACT}, {'size': 32}], 3)})
    twice = map_views(batch['inputs'], 2, lambda x: torch.cat([x, x]))
    assert torch.equal(twice.masks[0], torch.cat([batch['inputs'].masks[0]] * 2)) and twice.masks[1] is None
    mode = FakeTensorMode()
    fake = fake_views(mode, batch['inputs'], 'cuda', 8)
    assert fake.masks[0].shape == (24, 8, 8) and fake.masks[0].device.type == 'cuda'
    assert fake.masks[0].dtype == torch.bool
    unmasked = fake_views(mode, replace(batch['inputs'], masks=None), 'cuda', 8)
    assert unmasked.masks is None
