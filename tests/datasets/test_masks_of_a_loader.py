"""The masks of an epoch: of any number of workers, and of a run that goes on in its middle."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from densecl.datasets import PretrainDataset, PretrainSampler, collate_views
from densecl.engine.launch import read_config
from densecl.models.data_preprocessors import PretrainDataPreprocessor
from densecl.planning import photos

MASKS = [
    {'type': 'RandomMask', 'patch': 8},
    {'type': 'BlockMask', 'patch': 8, 'ratio': {'type': 'RatioChoice'}},
    {'type': 'BlockMask', 'patch': 8, 'ratio': {'type': 'BatchRatios'}, 'min_area': 2},
    {'type': 'InverseBlockMask', 'patch': 8, 'ratio': 0.65, 'asked': 0.2},
]

PREPROCESSOR = PretrainDataPreprocessor()
FILLS = ('zeros', 'noise', 'batch')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('photos')
    for i in range(11):
        noise = np.random.default_rng(i).integers(0, 256, (6, 8, 3), np.uint8)
        Image.fromarray(noise).resize((80, 60)).save(folder / f'{i}.jpg')
    return folder


def batches(folder, workers=0, start=0, epoch=0):
    views = [{'size': 48, 'mask': mask} for mask in MASKS] + [{'size': 48}]
    views.append({'size': 48, 'corruption': [{'mask': {'type': 'GMMLMask'}, 'fill': x} for x in FILLS]})
    dataset = PretrainDataset(folder, pipeline=[{'type': 'MultiView', 'views': views}], seed=5)
    sampler = PretrainSampler(dataset, seed=1)
    sampler.set_epoch(epoch)
    sampler.set_start(start)
    context = 'fork' if workers else None
    loader = DataLoader(
        dataset,
        3,
        sampler=sampler,
        num_workers=workers,
        collate_fn=collate_views,
        multiprocessing_context=context,
    )
    return [batch['inputs'] for batch in loader]


def same(one, other) -> bool:
    """Masks, what is asked for, and what is in the place of replaced pixels."""
    pairs = [(one.masks[v], other.masks[v]) for v in (0, 1, 2, 3, 5)] + [(one.asked[3], other.asked[3])]
    pairs.append([PREPROCESSOR({'inputs': views})['inputs'].replaced(5) for views in (one, other)])
    return torch.equal(one.indices, other.indices) and all(torch.equal(a, b) for a, b in pairs)


def test_masks_do_not_depend_on_workers(folder):
    alone, shared = batches(folder), batches(folder, workers=2)
    assert len(alone) == len(shared) == 4 and all(map(same, alone, shared))
    assert [len(batch.masks[2]) for batch in alone] == [3, 3, 3, 2]  # the last batch is smaller
    for batch in alone:
        assert batch.masks[4] is None and batch.asked[3].shape == (len(batch.indices), 4)
        assert (batch.masks[0].sum((1, 2)) == 27).all()
        assert int((batch.masks[2].sum((1, 2)) > 0).sum()) == len(batch.indices) // 2


def test_a_run_that_goes_on_has_the_same_masks(folder):
    whole = batches(folder, epoch=2)
    assert all(map(same, whole[2:], batches(folder, start=6, epoch=2)))
    assert not any(map(same, whole, batches(folder, epoch=3)))


def test_samples_of_a_plan(folder):
    """What ``densecl plan`` counts from: photos of the config, or stand-ins, with the config's masks."""
    cfg = read_config('configs/mocov2/mocov2_resnet18_1xb64-coslr-6e_photos.py')
    views = [{'count': 2, 'size': 64, 'mask': MASKS[2]}]
    cfg.train_dataloader.dataset.pipeline = [{'type': 'MultiView', 'views': views}]
    for root in (str(folder), '/nowhere'):
        cfg.train_dataloader.dataset.data_root = root
        found = photos.take_samples(cfg, 2, 0.01)
        batch = collate_views(found.samples)['inputs']
        assert sum(int((mask.sum((1, 2)) > 0).sum()) for mask in batch.masks) == 2  # half of four crops
        assert found.tensors >= 2 + 4 + 1 and found.seconds > 0
