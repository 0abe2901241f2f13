"""What a batch of many views costs on its way: file descriptors from the worker, copies to the device."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from torch.utils.data import DataLoader

from densecl.datasets import PretrainDataset, collate_views
from densecl.planning.fake import map_views
from densecl.structures import Views

DETCO = Path(__file__).parents[2] / 'configs/detco/detco_resnet50_8xb32-coslr-200e_in1k.py'
VIEWS = 20  # two global ones and eighteen patches


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp('photos')
    for i in range(3):
        noise = np.random.default_rng(i).integers(0, 256, (30, 40, 3), np.uint8)
        Image.fromarray(noise).resize((200, 150)).save(folder / f'{i}.jpg')
    return PretrainDataset(folder, pipeline=Config.fromfile(DETCO).train_dataloader.dataset.pipeline)


def tensors(batch: Views) -> list[torch.Tensor]:
    found = []
    batch.each_tensor(lambda x: found.append(x) or x)
    return found


def descriptors() -> int:
    return len(os.listdir('/proc/self/fd'))


def test_one_tensor_of_boxes_and_one_of_flips(dataset):
    batch = Views.collate([dataset[i] for i in range(3)])
    assert batch.boxes.shape == (VIEWS, 3, 4) and batch.flipped.shape == (VIEWS, 3)
    assert (
        len(tensors(batch)) == VIEWS + 4
    )  # images, boxes, flips, sizes and indices; 62 with boxes of each view
    assert [p.values.shape for p in batch.photometric] == [(3, 19)] * VIEWS
    for v in range(VIEWS):
        samples = [dataset[i] for i in range(3)]
        assert torch.equal(batch.boxes[v], torch.stack([s.boxes[v] for s in samples]))
        assert torch.equal(batch.flipped[v], torch.stack([s.flipped[v] for s in samples]))
        factors = torch.stack([s.photometric[v].factors for s in samples])
        assert torch.equal(batch.photometric[v].factors, factors) and factors.dtype == torch.float32


def test_a_batch_twice_as_large(dataset):
    batch = Views.collate([dataset[i] for i in range(3)])
    batch = replace(batch, answers=torch.arange(3 * VIEWS).view(VIEWS, 3))
    twice = map_views(batch, 2, lambda x: torch.cat([x, x]))
    assert torch.equal(twice.answers, batch.answers.repeat(1, 2))
    assert len(twice.boxes) == len(twice.flipped) == VIEWS
    for v in (0, 7):
        assert torch.equal(twice.boxes[v], torch.cat([batch.boxes[v]] * 2))
        assert torch.equal(twice.flipped[v], torch.cat([batch.flipped[v]] * 2))
        assert len(twice.images[v]) == 6 == len(twice.paths)


def test_a_pinned_batch_holds_no_descriptor(dataset):
    loader = DataLoader(dataset, 3, num_workers=1, collate_fn=collate_views, multiprocessing_context='fork')
    batches = iter(loader)
    before = descriptors()
    batch = next(batches)['inputs']
    shared = descriptors() - before
    assert 1 <= shared <= VIEWS + 6  # a few come and go with the queue; 240 with a tensor for each parameter
    # page-locked memory is a copy as this one is, and needs a GPU
    copy = batch.each_tensor(torch.Tensor.clone)
    del batch
    assert descriptors() - before <= 2
    alone = Views.collate([dataset[i] for i in range(3)])
    assert all(map(torch.equal, tensors(copy), tensors(alone)))
    for one, other in zip(copy.photometric, alone.photometric, strict=True):
        assert np.array_equal(one.values, other.values)


@pytest.mark.gpu
def test_a_batch_pinned_by_the_loader_holds_no_descriptor(dataset):
    loader = DataLoader(dataset, 3, num_workers=1, collate_fn=collate_views, pin_memory=True)
    batches = iter(loader)
    batch = next(batches)['inputs']
    assert all(x.is_pinned() for x in tensors(batch))
    held = descriptors()
    del batch
    assert held - descriptors() <= 2
