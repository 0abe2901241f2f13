"""The networks of context encoders: sizes of the official ones, and what does not fit."""

import pytest
import torch
from torch import nn

from densecl.models.backbones import Discriminator, StridedConvs
from densecl.models.necks import BottleneckDecoder


def test_sizes_of_the_official_networks():
    encoder, decoder = StridedConvs().eval(), BottleneckDecoder().eval()
    level = encoder(torch.randn(1, 3, 128, 128))
    assert level.shape == (1, 512, 4, 4)
    image = decoder((level,))
    assert image.shape == (1, 3, 128, 128) and image.abs().max() <= 1
    assert Discriminator()(torch.randn(2, 3, 64, 64)).shape == (2, 1, 1, 1)
    convs = [m for m in encoder if isinstance(m, nn.Conv2d)]
    assert [c.out_channels for c in convs] == [64, 64, 128, 256, 512]
    assert sum(isinstance(m, nn.BatchNorm2d) for m in encoder) == 4  # none behind the first


def test_initial_values():
    torch.manual_seed(0)
    convs = [m for m in StridedConvs() if isinstance(m, nn.Conv2d)]
    assert all(abs(c.weight.std().item() - 0.02) < 2e-3 and c.bias is None for c in convs)


def test_all_goes_through_one_vector():
    decoder = BottleneckDecoder(8, 5, (6, 4), grid=3).double().eval()
    level = torch.randn(2, 8, 3, 3, dtype=torch.float64)
    vector = decoder.encode(level)
    assert vector.shape == (2, 5, 1, 1)
    torch.testing.assert_close(decoder([level]), decoder.decode(vector))
    assert decoder([level]).shape == (2, 3, 12, 12)


def test_another_size_is_refused():
    with pytest.raises(ValueError, match='grid=4, the level has 3 x 3 cells; set grid to the size'):
        BottleneckDecoder(8)((torch.zeros(1, 8, 3, 3),))
