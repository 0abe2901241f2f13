"""Compiled backbones: no graph breaks, the same numbers, one compilation a size, the same checkpoints."""

import copy

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from densecl.models.pretrainers import MomentumPretrainer
from densecl.registry import MODELS
from tests.models.pretrainers.test_momentum import batch

BACKBONES = {
    'resnet50': dict(type='TorchvisionResNet', arch='resnet50'),
    'efficientnet_lite0': dict(type='TimmBackbone', model_name='tf_efficientnet_lite0'),
    'vit_small': dict(type='TimmViT', arch='vit_small_patch16_224', depth=4),
}


@pytest.fixture(autouse=True)
def _nothing_compiled():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def make(**kwargs):
    heads = dict(
        image=dict(
            projector=dict(type='MLP', channels=(128, 8)),
            objective=dict(type='InfoNCE', queue=32, dim=8),
        )
    )
    torch.manual_seed(0)
    backbone = dict(
        type='mmdet.ResNet', depth=18, num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(1,)
    )
    model = MomentumPretrainer(backbone, heads, shuffle_bn=True, **kwargs)
    model.init_weights()
    return model.train()


def three_steps(model):
    """Losses of three steps."""
    optimizer, losses = torch.optim.SGD(model.parameters(), lr=0.1), []
    for step in range(3):
        torch.manual_seed(step)
        loss = model.loss(batch(4, 32))['loss_image']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.after_optimizer_step()
        losses.append(loss.detach())
    return torch.stack(losses)


@pytest.mark.parametrize('name', BACKBONES)
def test_no_graph_breaks(name):
    backbone, counter = MODELS.build(BACKBONES[name]), CompileCounter()
    images = torch.randn(2, 3, 64, 64)
    torch.manual_seed(1)
    want = copy.deepcopy(backbone)(images)
    backbone.compile(backend=counter, fullgraph=True, dynamic=False)  # a break would raise
    assert all(map(torch.equal, backbone(images), want))
    assert counter.frame_count == 1


def test_a_compiled_run_equals_a_plain_one():
    """With activations computed again, too: running statistics move once."""
    compiled = make(checkpoint_activations=True, compile_backbone=dict(backend='aot_eager'))
    plain = make()
    losses, want = three_steps(compiled), three_steps(plain)
    assert torch.equal(losses, want)
    assert want.unique().numel() == 3
    got, state = compiled.state_dict(), plain.state_dict()
    assert list(got) == list(state)
    assert all(torch.equal(got[name], state[name]) for name in state)
    plain.load_state_dict(got)
    compiled.load_state_dict(state)


def test_each_backbone_is_compiled_once():
    """The key pass is shuffled anew in each step."""
    counter = CompileCounter()
    three_steps(make(bn_groups=2, compile_backbone=dict(backend=counter)))
    assert counter.frame_count == 2
