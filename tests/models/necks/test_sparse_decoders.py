"""Decoders of masked convolutional encoders."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from densecl.models.backbones.sparse import encode_sparse
from densecl.registry import MODELS
from densecl.structures import TokenMask
from tests.oracles.masked import patch_vectors

RESNET50 = (256, 512, 1024, 2048)


def build(kind='UNetDecoder', **kwargs):
    torch.manual_seed(0)
    return MODELS.build(dict(type=f'densecl.{kind}', **kwargs)).double()


def pyramid(*channels, side=2, batch=2):
    """Levels, shallow to deep, 0 in the hidden cells, and their mask."""
    generator = torch.Generator().manual_seed(1)
    hidden = torch.rand(batch, side, side, generator=generator) < 0.5
    hidden[0, 0, 0], hidden[1, 0, 0] = True, False
    levels = []
    for i, c in enumerate(reversed(channels)):
        x = torch.randn(batch, c, side << i, side << i, dtype=torch.float64, generator=generator) + 1
        levels.insert(0, x.masked_fill(spread(hidden, 1 << i)[:, None], 0))
    return levels, mask_of(hidden)


def mask_of(hidden):
    each = hidden.flatten(1).sum(1)
    return TokenMask(hidden, (int(each.min()), int(each.max())))


def spread(hidden, times):
    return hidden.repeat_interleave(times, 1).repeat_interleave(times, 2)


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_the_numbers_of_spark():
    """ResNet-50: encoder 23.51 M, densify 6.23 M, decoder 23.18 M parameters."""
    with torch.device('meta'):
        encoder = MODELS.build(dict(type='densecl.TorchvisionResNet', arch='resnet50'))
        decoder = MODELS.build(dict(type='densecl.UNetDecoder', channels=RESNET50))
    assert count(encoder) == 23_508_032
    assert count(decoder.densify) == 6_230_688
    assert round((count(decoder.blocks) + count(decoder.proj)) / 1e6, 2) == 23.18
    assert [d.proj.kernel_size for d in decoder.densify] == [(1, 1), (3, 3), (3, 3), (3, 3)]
    assert all(block[0].bias is not None and block[1].bias is None for block in decoder.blocks)


@pytest.mark.parametrize('name, millions', [('atto', 3.39), ('tiny', 27.87), ('base', 87.69)])
def test_the_numbers_of_convnext_v2(name, millions):
    """Without the classifier, with the last norm, which no level has passed."""
    with torch.device('meta'):
        levels = MODELS.build(dict(type='densecl.TimmBackbone', model_name=f'convnextv2_{name}'))
    assert round((count(levels) + 2 * levels.feature_info.channels()[-1]) / 1e6, 2) == millions


def test_hidden_positions_get_the_token_and_no_part_in_the_norm():
    decoder, (levels, mask) = build(channels=(4, 6), patch=4, width=8), pyramid(4, 6)
    for densify, x, times in zip(decoder.densify, reversed(levels), (1, 2), strict=True):
        nn.init.uniform_(densify.norm.weight)
        nn.init.uniform_(densify.norm.bias)
        got = densify(x, ~mask.hidden)
        hidden = spread(mask.hidden, times)
        rows = x.permute(0, 2, 3, 1)[~hidden]
        normal = (rows - rows.mean(0)) / (rows.var(0, correction=0) + 1e-5).sqrt()
        filled = densify.mask_token.view(-1).repeat(*hidden.shape, 1)
        filled[~hidden] = normal * densify.norm.weight + densify.norm.bias
        proj = densify.proj
        want = F.conv2d(filled.permute(0, 3, 1, 2), proj.weight, proj.bias, padding=times - 1)
        torch.testing.assert_close(got, want)
        torch.testing.assert_close(densify.norm.running_mean, 0.1 * rows.mean(0))
        assert 0 < densify.mask_token.abs().max() <= 0.02


def test_levels_enter_in_front_of_their_block_and_pixels_are_patch_vectors():
    decoder, (levels, mask) = build(channels=(4, 6), patch=8, width=8), pyramid(4, 6)
    deep, shallow = (d(x, ~mask.hidden) for d, x in zip(decoder.densify, levels[::-1], strict=True))
    up = decoder.blocks
    image = decoder.proj(up[2](up[1](up[0](deep) + shallow)))
    assert image.shape == (2, 3, 16, 16)
    want = patch_vectors(image.detach(), 8)
    torch.testing.assert_close(decoder(levels, mask).flatten(2).transpose(1, 2), want)


def test_blocks_double_the_map_and_halve_the_channels():
    block = build(channels=(6,), patch=4, width=8).blocks[0]
    up, first, norm1, relu, second, norm2 = block
    x = torch.randn(2, 8, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = F.conv2d(F.conv_transpose2d(x, up.weight, up.bias, 2, 1), first.weight, padding=1)
    y = F.batch_norm(y, None, None, training=True).clamp(0, 6)
    y = F.batch_norm(F.conv2d(y, second.weight, padding=1), None, None, training=True)
    assert y.shape == (2, 4, 6, 6)
    torch.testing.assert_close(block(x), y)


def test_layer_norm_for_convnext_and_no_convolution_where_widths_agree():
    decoder, (levels, mask) = build(channels=(4, 8), patch=4, width=8, norm='LN'), pyramid(4, 8)
    densify, x = decoder.densify[0], levels[1]
    assert isinstance(densify.proj, nn.Identity)
    got = densify(x, ~mask.hidden).permute(0, 2, 3, 1)
    row = x.permute(0, 2, 3, 1)[~mask.hidden][0]
    want = (row - row.mean()) / (row.var(correction=0) + 1e-6).sqrt()
    torch.testing.assert_close(got[~mask.hidden][0], want)
    torch.testing.assert_close(got[mask.hidden][0], densify.mask_token.flatten())


def test_the_decoder_of_fcmae():
    decoder, (levels, mask) = (
        build('ConvNeXtDecoder', in_channels=6, out_channels=12, embed_dim=8),
        pyramid(6),
    )
    for parameter in decoder.blocks[0].mlp.grn.parameters():
        nn.init.uniform_(parameter)
    x = decoder.proj(levels[0]).permute(0, 2, 3, 1).clone()
    x[mask.hidden] = decoder.mask_token.flatten()
    x = x.permute(0, 3, 1, 2)
    block = decoder.blocks[0]
    y = F.conv2d(x, block.conv_dw.weight, block.conv_dw.bias, padding=3, groups=8).permute(0, 2, 3, 1)
    y = F.gelu(block.mlp.fc1(F.layer_norm(y, (8,), block.norm.weight, block.norm.bias, 1e-6)))
    norm = y.square().sum((1, 2), keepdim=True).sqrt()
    y = y + block.mlp.grn.weight * y * norm / (norm.mean(3, keepdim=True) + 1e-6) + block.mlp.grn.bias
    want = decoder.pred(x + block.mlp.fc2(y).permute(0, 3, 1, 2))
    torch.testing.assert_close(decoder(levels, mask), want)
    with torch.device('meta'):
        official = MODELS.build(dict(type='densecl.ConvNeXtDecoder', in_channels=768, out_channels=3072))
    assert official.pred.weight.shape == (3072, 512, 1, 1) and len(official.blocks) == 1


def test_behind_a_resnet_every_parameter_is_trained():
    torch.manual_seed(0)
    encoder = MODELS.build(dict(type='densecl.TorchvisionResNet', arch='resnet18', out_indices=(0, 1, 2, 3)))
    decoder = MODELS.build(dict(type='densecl.UNetDecoder', channels=(64, 128, 256, 512), width=64))
    images, hidden = torch.randn(2, 3, 64, 96), torch.tensor([[True, False, True], [False, True, False]])
    mask = mask_of(torch.stack([hidden, ~hidden]))
    prediction = decoder(encode_sparse(encoder, images, mask.hidden), mask)
    assert prediction.shape == (2, 3072, 2, 3)
    prediction.square().mean().backward()
    assert all(p.grad.abs().max() > 0 for m in (encoder, decoder) for p in m.parameters())


def test_what_is_refused():
    with pytest.raises(ValueError, match='patch must be a power of 2 and divide width, got patch=24'):
        build(channels=(4,), patch=24)
    with pytest.raises(ValueError, match='patch=2 makes 1 blocks, one a level, but channels has 2 levels'):
        build(channels=(4, 6), patch=2, width=8)
    with pytest.raises(ValueError, match="norm must be 'BN', 'LN' or None, got 'GN'"):
        build(channels=(4,), norm='GN')
    decoder, (levels, mask) = build(channels=(4, 6), patch=4, width=8), pyramid(4, 6)
    with pytest.raises(ValueError, match='channels says 2 levels, the backbone gives 1'):
        decoder(levels[:1], mask)
    with pytest.raises(ValueError, match='each level must have twice the size of the next deeper one'):
        decoder([levels[0][:, :, ::2, ::2], levels[1]], mask)
