"""Projectors: linear layers and 1x1 convolutions are the same function."""

import pytest
import torch
from torch import nn

from densecl.models.necks import MLP, ConvMLP


def test_conv_form_equals_linear_form_on_every_cell():
    linear = MLP((6, 7, 5), norm=True).eval()
    conv = ConvMLP((6, 7, 5), norm=True).eval()
    conv.load_state_dict(
        {
            key: value[:, :, None, None] if value.ndim == 2 else value
            for key, value in linear.state_dict().items()
        }
    )
    x = torch.randn(2, 6, 3, 4)
    cells = linear(x.permute(0, 2, 3, 1).reshape(-1, 6)).view(2, 3, 4, 5).permute(0, 3, 1, 2)
    torch.testing.assert_close(conv(x), cells)


def test_layers_are_those_of_moco_v2():
    assert [type(m) for m in MLP((8, 8, 4))] == [nn.Linear, nn.ReLU, nn.Linear]
    assert all(m.bias is not None for m in MLP((8, 8, 4)) if isinstance(m, nn.Linear))


def test_norms_stand_where_they_are_asked_for():
    layers = [type(m) for m in MLP((8, 8, 8, 4), norm=True, last_norm=True)]
    block = [nn.Linear, nn.BatchNorm1d]
    assert layers == [*block, nn.ReLU, *block, nn.ReLU, *block]
    assert MLP((8, 4), last_norm=True)[0].bias is None


def test_activations_one_by_one():
    layers = [type(m) for m in MLP((8, 8, 8, 4), activation=('ReLU', 'GELU'))]
    assert layers == [nn.Linear, nn.ReLU, nn.Linear, nn.GELU, nn.Linear]
    with pytest.raises(ValueError, match='activation needs one value between each two of 3 layers'):
        MLP((8, 8, 8, 4), activation=('ReLU',))
    with pytest.raises(ValueError, match="activation must be 'ReLU', 'GELU' or 'Tanh', got 'Sine'"):
        MLP((8, 8, 4), activation=('Sine',))


def test_normal_init():
    layer = MLP((512, 512), init='normal')[0]
    assert layer.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert layer.bias.abs().sum() == 0


def test_bad_arguments():
    with pytest.raises(ValueError, match='input and output'):
        MLP((8,))
    with pytest.raises(ValueError, match='init'):
        MLP((8, 8), init='xavier')


def test_other_inputs_are_named_by_what_fits():
    with pytest.raises(
        ValueError, match=r'MLP with channels=\(8, 4\) maps \(N, 8\), but gets \(2, 8, 7, 7\)'
    ):
        MLP((8, 4))(torch.zeros(2, 8, 7, 7))
    with pytest.raises(
        ValueError, match=r'ConvMLP .* maps \(B, 8, H, W\), but gets \(2, 8\); .* vectors MLP'
    ):
        ConvMLP((8, 4))(torch.zeros(2, 8))
    with pytest.raises(ValueError, match=r'MLP .* maps \(N, 8\), but gets \(2, 16\); channels begins with'):
        MLP((8, 4))(torch.zeros(2, 16))
