"""The simple feature pyramid: shapes, arithmetic against a form written here, mmdet's scope."""

import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS as DET_MODELS
from mmengine.registry import MODELS as ROOT_MODELS
from torch import nn

from densecl.models.necks import LayerNorm2d, SimpleFeaturePyramid, pyramid_strides


def norm(x, weight, bias):
    """Zero mean and unit variance over the channels of each cell."""
    mean = x.mean(1, keepdim=True)
    deviation = (x.var(1, unbiased=False, keepdim=True) + 1e-6).sqrt()
    return (x - mean) / deviation * weight.view(1, -1, 1, 1) + bias.view(1, -1, 1, 1)


def by_hand(neck, x):
    """Li et al., section 3: x4, x2, x1, /2, then 1x1 and 3x3 with LayerNorm."""
    p = dict(neck.named_parameters())

    def up(y, stage, step):
        """A 2x2 transposed convolution of stride 2 fills each cell's square by itself."""
        name = f'stages.{stage}.{step}'
        square = torch.einsum('bchw,cdij->bdhiwj', y, p[f'{name}.weight'])
        b, d, h, i, w, j = square.shape
        return square.reshape(b, d, h * i, w * j) + p[f'{name}.bias'].view(1, -1, 1, 1)

    def lateral(y, stage, first):
        name = f'stages.{stage}.{{}}'.format
        y = F.conv2d(y, p[name(first) + '.weight'])
        y = norm(y, p[name(first + 1) + '.weight'], p[name(first + 1) + '.bias'])
        y = F.conv2d(y, p[name(first + 2) + '.weight'], padding=1)
        return norm(y, p[name(first + 3) + '.weight'], p[name(first + 3) + '.bias'])

    four = up(x, 0, 0)
    four = F.gelu(norm(four, p['stages.0.1.weight'], p['stages.0.1.bias']))
    four = up(four, 0, 3)
    halved = x.unfold(2, 2, 2).unfold(3, 2, 2).amax((-1, -2))
    outs = [lateral(four, 0, 4), lateral(up(x, 1, 0), 1, 1), lateral(x, 2, 0), lateral(halved, 3, 1)]
    return [*outs, outs[-1][:, :, ::2, ::2]]


def scrambled(in_channels=16, **kwargs):
    torch.manual_seed(0)
    neck = SimpleFeaturePyramid(in_channels, 8, **kwargs)
    for parameter in neck.parameters():
        nn.init.normal_(parameter, std=0.3)
    return neck.double()


def test_values():
    neck, x = scrambled(), torch.randn(2, 16, 6, 8, dtype=torch.float64)
    outs = neck((x,))
    assert [tuple(o.shape[-2:]) for o in outs] == [(24, 32), (12, 16), (6, 8), (3, 4), (2, 2)]
    for out, expected in zip(outs, by_hand(neck, x), strict=True):
        torch.testing.assert_close(out, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    'patch, strides', [(8, (4, 8, 16, 32, 64)), (14, (3.5, 7, 14, 28, 56)), (32, (4, 8, 16, 32, 64))]
)
def test_other_patches(patch, strides):
    """The map is the level of its own stride, unchanged before the convolutions."""
    assert pyramid_strides(patch) == strides
    neck, x = scrambled(stride=patch), torch.randn(1, 16, 8, 8, dtype=torch.float64)
    assert [patch * 8 / out.shape[-1] for out in neck((x,))] == list(strides)
    own = strides.index(patch)
    assert [type(m).__name__ for m in neck.stages[own]] == ['Conv2d', 'LayerNorm2d', 'Conv2d', 'LayerNorm2d']
    for times, stage in enumerate(neck.stages[own + 1 :], 1):
        assert torch.equal(stage(x), stage[1:](F.max_pool2d(x, 2**times)))


def test_level_and_number_of_outputs():
    neck, x = scrambled(num_outs=4, level=-2), torch.randn(1, 16, 4, 4, dtype=torch.float64)
    token = torch.randn(1, 16, 1, 1, dtype=torch.float64)
    assert len(neck((x, token))) == 4
    neck.level = 0
    assert neck((x, token))[3].shape == (1, 8, 2, 2)
    with pytest.raises(ValueError, match='num_outs must be at least 4, got 3'):
        SimpleFeaturePyramid(16, 8, num_outs=3)


def test_every_parameter_learns():
    neck = scrambled()
    sum(o.square().sum() for o in neck((torch.randn(1, 16, 4, 4, dtype=torch.float64),))).backward()
    assert all(p.grad.abs().sum() > 0 for p in neck.parameters() if p.numel() > 1)


def test_mmdet_finds_it_by_scope():
    neck = DET_MODELS.build(dict(type='densecl.SimpleFeaturePyramid', in_channels=16))
    assert isinstance(neck, SimpleFeaturePyramid) and neck.num_outs == 5
    assert ROOT_MODELS.get('densecl.LN2d') is LayerNorm2d
