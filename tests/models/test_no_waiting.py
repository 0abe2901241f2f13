"""The host never waits for the device in a step: fake tensors play a CUDA device and raise where it would.

Every official recipe takes a step in full size: data preprocessor, losses, optimiser, target. Its backward
pass alone is left out, which fake tensors of a device that is not there do not have.
"""

import re
from pathlib import Path

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch._subclasses.fake_tensor import FakeTensorMode

from densecl.datasets import collate_views
from densecl.engine.launch import read_config
from densecl.engine.step_state import StepState
from densecl.models.data_preprocessors import photometric
from densecl.models.losses import functional
from densecl.planning.counting import Step, played_processes
from densecl.planning.fake import fake_copy, fake_views
from densecl.planning.photos import take_samples
from densecl.registry import MODELS
from densecl.structures import Batch, Comparison, Match, Units
from tests.models.played_device import PlayedDevice

CONFIGS = Path(__file__).parents[2] / 'configs'
OTHERS = (
    CONFIGS / 'leopart/leopart_vit-small_2xb32-mcrop-coslr-50e_coco.py',
    CONFIGS / 'cribo/cribo_vit-small_8xb32-coslr-300e_coco.py',
    CONFIGS / 'aligndet/aligndet_mask-rcnn_r50_fpn_8xb2-steplr-12e_coco.py',
    CONFIGS / 'slotcon/slotcon_resnet50_8xb64-coslr-800e_coco.py',  # fewer slots than on ImageNet
    CONFIGS / 'ibot/ibot-decoupled_vit-small_8xb64-coslr-800e_coco.py',
    CONFIGS / 'dip/dip_vit-small_1xb32-coslr-5e_coco.py',
    CONFIGS / 'context_encoder/context-encoder_conv5_1xb64-constlr-500e_paris.py',
    CONFIGS / 'rasa/rasa_vit-small_1xb128-coslr-45e_voc.py',
    CONFIGS / 'clip/clip_vit-base_256xb128-coslr-32e_captions.py',
)


def recipes() -> list[Path]:
    """Official recipes; of those that differ in length or photos alone, the first."""
    found = {}
    for path in sorted(CONFIGS.glob('*/*_in1k.py')):
        found.setdefault(re.sub(r'-\d+e_in1k$', '', path.stem), path)
    return [*found.values(), *OTHERS]


@pytest.fixture(autouse=True)
def nothing_fake_is_remembered():
    yield
    photometric._taps.cache_clear()


@pytest.mark.parametrize('path', recipes(), ids=lambda path: path.stem)
def test_a_step(path):
    cfg = read_config(str(path))
    samples = take_samples(cfg, seconds=0).samples
    step = Step(cfg, samples, images=1000)
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    model = fake_copy(mode, step.model, 'cuda')
    model.data_preprocessor._device = torch.device('cuda')
    optimizer = dict(step.optim_wrapper['optimizer'])
    if optimizer['type'] in ('Adam', 'AdamW'):
        optimizer['fused'] = True  # as a run's on CUDA; fake tensors do not know fused SGD
    wrapper = build_optim_wrapper(model, dict(step.optim_wrapper, optimizer=optimizer))
    wrapper.measure = True  # the gradient's norm, as when it is logged
    state = StepState(model)
    device = PlayedDevice(mode)
    with device:
        views = model.data_preprocessor(collate_views(samples), True)['inputs']
        state.keep()
        losses = model(views, mode='loss')
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.empty_like(parameter)
        model.before_optimizer_step()
        wrapper.step()  # the first step of an optimiser that is not fused is waited for
        wrapper.guarded = True
        wrapper.step()
        wrapper.zero_grad()
        state.close(wrapper.finite)
        model.after_optimizer_step(wrapper.finite)
    assert not device.waits
    assert all(value.device.type == 'cuda' for value in losses.values())
    assert wrapper.grad_norm.device.type == 'cuda'


@pytest.mark.parametrize(
    'wait',
    [
        lambda x: x.sum().item(),
        lambda x: x[x > 0],
        lambda x: torch.nonzero(x),
        lambda x: bool((x > 0).all()),
    ],
)
def test_what_waits_is_noticed(wait):
    device = PlayedDevice(FakeTensorMode(allow_non_fake_inputs=True))
    with device:
        x = torch.ones(3).to('cuda', non_blocking=True)
        assert not device.waits
        with pytest.raises(Exception, match='nonzero|_local_scalar_dense'):
            wait(x)


@pytest.mark.parametrize(
    'copy',
    [
        lambda x: x.new_tensor([1.0]),
        lambda x: torch.tensor(1.0, device='cuda'),
        lambda x: torch.ones(2).to('cuda'),
        lambda x: x.cpu(),
        lambda x: x.to('cpu'),
    ],
)
def test_copies_that_block_are_listed(copy):
    device = PlayedDevice(FakeTensorMode(allow_non_fake_inputs=True))
    with device:
        copy(torch.ones(3).to('cuda', non_blocking=True))
    assert len(device.waits) == 1


def test_a_step_with_low_rank_adapters():
    """Of a momentum pretrainer that also has a frozen start."""
    from tests.models.backbones.test_low_rank import pretrainer
    from tests.models.pretrainers.test_momentum import batch

    mode = FakeTensorMode()
    model, views = fake_copy(mode, pretrainer(), 'cuda'), fake_views(mode, batch(), 'cuda')
    with mode:
        losses = model.loss(views)
    assert {'loss_image', 'loss_anchor'} <= losses.keys()
    assert all(value.device.type == 'cuda' for value in losses.values())


MASKED = dict(type='densecl.SelfDistillation', prototypes=7, mean='images')
OBJECTIVES = {
    'softmax': MASKED,
    'sinkhorn': dict(MASKED, centering='sinkhorn'),
    'koleo': dict(type='densecl.KoLeo'),
}


@pytest.mark.parametrize('name', OBJECTIVES)
def test_masked_tokens_and_koleo_of_eight_ranks(name):
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    objective, device = fake_copy(mode, MODELS.build(OBJECTIVES[name]), 'cuda'), PlayedDevice(mode)
    numbers, index = torch.arange(4), torch.arange(5).expand(4, -1)
    given = [torch.randn(4, 5, 7), torch.randn(4, 5, 7), torch.rand(4, 5) < 0.5, numbers, index]
    with played_processes(8), device:
        query, key, masks, numbers, index = (x.to('cuda', non_blocking=True) for x in given)
        query, key = Units(query, valid=masks), Units(key, valid=masks)
        comparison = Comparison(query, key, Match(index=index, valid=masks), Batch(numbers))
        found = [objective.score(comparison)[0]]
        objective.remember([key], comparison.batch)
        student = query.vectors.flatten(0, 1)[:9]
        found.append(functional.masked_token_loss(student, student.softmax(-1), masks, 0.1))
    assert not device.waits
    assert all(x.device.type == 'cuda' and x.shape == () for x in found)
