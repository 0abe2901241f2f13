"""Collectives wait for the device no more than the rest of a step does; the other seven ranks are played."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from densecl.engine.launch import read_config
from densecl.planning.counting import Step, played_processes
from densecl.planning.fake import fake_copy, fake_views
from densecl.planning.photos import take_samples
from densecl.planning.wire import WireCounter
from tests.models.played_device import PlayedDevice

CONFIGS = Path(__file__).parents[2] / 'configs'
# Shuffled keys and a queue; units of all ranks; rows of all ranks for matrices.
RECIPES = {
    'mocov2/mocov2_resnet18_1xb64-coslr-6e_photos.py': {'all_to_all': 2, 'all_gather': 2},
    'resim/resim_resnet18_1xb64-coslr-6e_photos.py': {'all_to_all': 4, 'all_gather': 4, 'all_reduce': 2},
    'vicregl/vicregl_resnet18_1xb64-coslr-6e_photos.py': {'all_gather': 5},
}


@pytest.mark.parametrize('path', RECIPES)
def test_a_loss_over_eight_ranks(path):
    cfg = read_config(str(CONFIGS / path))
    step = Step(cfg, take_samples(cfg, seconds=0).samples, images=1000)
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    model, views = fake_copy(mode, step.model, 'cuda'), fake_views(mode, step.views, 'cuda', times=4)
    device = PlayedDevice(mode)
    with played_processes(8), device, WireCounter() as wire:
        losses = model(views, mode='loss')
    assert not device.waits
    assert all(value.device == torch.device('cuda', 0) for value in losses.values())
    assert wire.calls == RECIPES[path]


def test_batch_statistics_of_active_rows_over_eight_ranks():
    """The predictor of SlotCon, once a direction: each layer gathers once."""
    cfg = read_config(str(CONFIGS / 'slotcon/slotcon_resnet18_1xb64-coslr-6e_photos.py'))
    step = Step(cfg, take_samples(cfg, seconds=0).samples, images=1000)
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    views, device, found = fake_views(mode, step.views, 'cuda', times=4), PlayedDevice(mode), []
    for layers in (0, 2):
        if layers:
            nn.SyncBatchNorm.convert_sync_batchnorm(step.model.heads['slots'].predictor)
        model = fake_copy(mode, step.model, 'cuda')
        with played_processes(8), device, WireCounter() as wire:
            model(views, mode='loss')
        found.append(wire.calls)
    plain, synced = found
    assert not device.waits and sum(isinstance(m, nn.SyncBatchNorm) for m in step.model.modules()) == layers
    assert synced == {**plain, 'all_gather': plain['all_gather'] + 2 * layers}
