"""Projectors that start with a part of a detector: names, values, and how they begin."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from densecl.models.necks import BoxProjector, StageProjector
from densecl.registry import MODELS


@MODELS.register_module()
class TinyStage(nn.Module):
    """A stage of one residual block."""

    def __init__(self) -> None:
        super().__init__()
        self.layer4 = nn.Sequential()
        self.layer4.add_module('0', TinyBlock())

    def forward(self, x):
        return self.layer4(x)


class TinyBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)

    def forward(self, x):
        return (x + self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))).relu()


def test_box_projector_is_convolutions_a_linear_layer_and_an_mlp():
    torch.manual_seed(0)
    module = BoxProjector(
        in_channels=3, convs=2, conv_channels=5, fc=7, pool_size=4, channels=(7, 9, 6), norm=True, bias=True
    ).double()
    names = {n for n, _ in module.named_parameters()}
    parts = ('conv.weight', 'bn.weight', 'bn.bias')
    shared = [f'box_head.shared_convs.{i}.{part}' for i in (0, 1) for part in parts]
    assert names == {
        *shared, 'box_head.shared_fcs.0.weight', 'box_head.shared_fcs.0.bias',
        'mlp.0.weight', 'mlp.0.bias', 'mlp.1.weight', 'mlp.1.bias', 'mlp.3.weight', 'mlp.3.bias',
    }  # fmt: skip
    x = torch.randn(8, 3, 4, 4, dtype=torch.float64)
    state = module.state_dict()
    hidden = x
    for i in (0, 1):
        hidden = F.conv2d(hidden, state[f'box_head.shared_convs.{i}.conv.weight'], padding=1)
        mean, var = hidden.mean((0, 2, 3), keepdim=True), hidden.var((0, 2, 3), keepdim=True, correction=0)
        hidden = ((hidden - mean) / (var + 1e-5).sqrt()).clamp(min=0)
    hidden = hidden.flatten(1) @ state['box_head.shared_fcs.0.weight'].T + state['box_head.shared_fcs.0.bias']
    hidden = hidden.clamp(min=0) @ state['mlp.0.weight'].T + state['mlp.0.bias']
    hidden = ((hidden - hidden.mean(0)) / (hidden.var(0, correction=0) + 1e-5).sqrt()).clamp(min=0)
    expected = hidden @ state['mlp.3.weight'].T + state['mlp.3.bias']
    torch.testing.assert_close(module(x), expected)


def test_without_a_linear_layer_the_mlp_reads_the_mean_over_cells():
    torch.manual_seed(0)
    module = BoxProjector(in_channels=3, convs=2, conv_channels=5, fc=None, channels=(5, 6)).double()
    assert not any('fcs' in name for name in module.state_dict())
    x = torch.randn(8, 3, 4, 4, dtype=torch.float64)
    mean, layer = module.box_head.shared_convs(x).sum((2, 3)) / 16, module.mlp[0]
    expected = F.linear(mean, layer.weight, layer.bias)
    torch.testing.assert_close(module(x), expected)


def test_the_mlp_must_fit_what_is_in_front_of_it():
    with pytest.raises(ValueError, match=r'channels \(256, 64\) must start with conv_channels=128'):
        BoxProjector(conv_channels=128, fc=None, channels=(256, 64))
    with pytest.raises(ValueError, match=r'channels \(512, 64\) must start with fc=1024'):
        BoxProjector(channels=(512, 64))


@pytest.mark.parametrize('zero', [True, False])
def test_stage_projector_averages_what_the_stage_returns(zero):
    torch.manual_seed(0)
    module = StageProjector(dict(type='densecl.TinyStage'), (4, 3), zero_init_residual=zero).double()
    assert bool((module.stage.layer4[0].bn2.weight == 0).all()) is zero
    assert module.stage.layer4[0].bn1.weight.eq(1).all()
    x = torch.randn(6, 4, 5, 5, dtype=torch.float64)
    mean = (x.relu() if zero else module.stage(x)).mean((2, 3))
    torch.testing.assert_close(module(x), mean @ module.mlp[0].weight.T + module.mlp[0].bias)
