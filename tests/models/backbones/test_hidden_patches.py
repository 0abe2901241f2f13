"""What a ViT makes of a mask."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from densecl.models.backbones.hidden_patches import put_token
from densecl.planning.fake import fake_copy, fake_tensor
from densecl.registry import MODELS
from densecl.structures import TokenMask
from tests.models.played_device import PlayedDevice

SMALL = dict(img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=2)


def build(**kwargs):
    torch.manual_seed(0)
    return MODELS.build(dict(type='densecl.TimmViT', **SMALL, **kwargs)).double().eval()


def hide(*places, batch=2):
    hidden = torch.zeros(batch, 16, dtype=torch.bool)
    hidden[:, list(places)] = True
    return TokenMask(hidden.view(batch, 4, 4), (len(places), len(places)))


@pytest.fixture
def images():
    return torch.randn(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize('hidden', ['token', 'dropped'])
def test_what_is_hidden_changes_nothing(images, hidden):
    vit, mask = build(hidden=hidden), hide(1, 6, 15)
    other = images.clone()
    other[:, :, 0:8, 8:16] = 7.0  # patch 1
    other[:, :, 24:, 24:] = -7.0  # patch 15
    torch.testing.assert_close(vit(images, mask=mask), vit(other, mask=mask), rtol=0, atol=0)
    assert (vit(images)[0] - vit(other)[0]).abs().max() > 0.1


@pytest.mark.parametrize('hidden', ['token', 'dropped'])
def test_an_empty_mask_is_no_mask(images, hidden):
    vit = build(hidden=hidden)
    torch.testing.assert_close(vit(images, mask=hide()), vit(images), rtol=1e-12, atol=1e-12)


def test_dropped_patches_are_not_among_the_tokens(images):
    """By hand: positions, then the visible tokens alone through the blocks; 0 in the other places."""
    vit, mask = build(hidden='dropped', pos_embed='sincos-mae', init='mae'), hide(0, 5, 6, 7, 8, 9, 14)
    mask.hidden[1] = mask.hidden[0].flip(0)  # other places, as many
    patches = vit.patch_embed(images).flatten(1, 2) + vit.pos_embed[:, 1:]
    level, token = vit(images, mask=mask)
    for image in range(2):
        shown = (~mask.hidden[image]).flatten().nonzero().flatten()
        tokens = torch.cat([vit.cls_token[0] + vit.pos_embed[0, :1], patches[image, shown]])[None]
        for block in vit.blocks:
            tokens = block(tokens)
        tokens = vit.norm(tokens)[0]
        torch.testing.assert_close(token[image, :, 0, 0], tokens[0])
        want = torch.zeros(16, 24, dtype=torch.float64)
        want[shown] = tokens[1:]
        torch.testing.assert_close(level[image].flatten(1).T, want)


def test_the_token_stands_in_before_positions(images):
    vit, mask = build(hidden='token'), hide(2)
    torch.nn.init.normal_(vit.mask_token)
    patches = vit.patch_embed(images).flatten(1, 2)
    patches[:, 2] = vit.mask_token
    tokens = torch.cat([vit.cls_token.expand(2, -1, -1), patches], 1) + vit.pos_embed
    for block in vit.blocks:
        tokens = block(tokens)
    torch.testing.assert_close(vit(images, mask=mask)[1][:, :, 0, 0], vit.norm(tokens)[:, 0])


def test_gradients_of_hidden_patches_are_zero(images):
    for hidden in ('token', 'dropped'):
        vit, images = build(hidden=hidden), images.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(vit(images, mask=hide(3))[1].pow(3).sum(), images)
        assert gradient[:, :, :8, 24:].abs().max() == 0
        assert gradient[:, :, :8, :24].abs().min() > 0


@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16])
def test_without_a_mask_the_token_has_a_zero_gradient(dtype):
    """Data-parallel training waits for it."""
    patches = torch.randn(2, 3, 4, 5, dtype=dtype)
    token = torch.nn.Parameter(torch.randn(1, 5))
    found = put_token(patches, token, None)
    assert torch.equal(found, patches) and found.dtype == dtype
    found.sum().backward()
    assert torch.equal(token.grad, torch.zeros(1, 5))
    assert put_token(patches, token.requires_grad_(False), None) is patches
    with torch.no_grad():
        assert put_token(patches, token.requires_grad_(), None) is patches


def test_a_whole_view_has_gradients_of_all_parameters(images):
    swin = dict(type='densecl.TimmBackbone', model_name='swin_tiny_patch4_window7_224', hidden='token')
    small = dict(embed_dim=8, depths=(1, 1), num_heads=(1, 2), img_size=32, window_size=4, out_indices=(1,))
    for backbone in (build(hidden='token'), MODELS.build(dict(swin, **small)).double()):
        sum(level.square().sum() for level in backbone(images)).backward()
        assert all(p.grad is not None for p in backbone.parameters())
        assert not backbone.mask_token.grad.any()


def test_a_whole_view_does_not_wait_for_the_device():
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    vit, device = fake_copy(mode, build(hidden='token'), 'cuda'), PlayedDevice(mode)
    with device:
        levels = vit(fake_tensor(mode, torch.zeros(2, 3, 32, 32, dtype=torch.float64), 'cuda'))
    assert levels[0].is_cuda and levels[0].requires_grad and not device.waits


def test_positions_of_mae_begin_with_x():
    positions = build(pos_embed='sincos-mae').pos_embed[0, 1:].view(4, 4, 24)
    torch.testing.assert_close(positions[0, :, :12], positions[3, :, :12], rtol=0, atol=0)
    torch.testing.assert_close(positions[:, 0, 12:], positions[:, 3, 12:], rtol=0, atol=0)
    frequencies = 10000.0 ** (-torch.arange(6) / 6)
    torch.testing.assert_close(positions[0, 2, :6].float(), torch.sin(2 * frequencies))


def test_initial_values_of_mae():
    """Query, key and value are one matrix; the patch projection is a linear layer but for its bias."""
    vit = build(init='mae')
    attention, projection = vit.blocks[0].attn.qkv, vit.patch_embed.proj
    for weight, sides in ((attention.weight, 24 + 3 * 24), (projection.weight, 3 * 8 * 8 + 24)):
        assert weight.abs().max().item() == pytest.approx((6 / sides) ** 0.5, rel=0.02)
    assert not attention.bias.any() and projection.bias.all()
    assert vit.cls_token.std().item() == pytest.approx(0.02, rel=0.5)


def test_the_numbers_of_mae():
    """111,907,840 parameters with the decoder, 85,798,656 in the encoder."""
    with torch.device('meta'):
        encoder = MODELS.build(
            dict(
                type='densecl.TimmViT', arch='vit_base_patch16_224', hidden='dropped', pos_embed='sincos-mae'
            )
        )
        decoder = MODELS.build(
            dict(type='densecl.TransformerDecoder', in_channels=768, out_channels=768, grid=14)
        )
    counts = [sum(p.numel() for p in part.parameters()) for part in (encoder, decoder)]
    assert counts[0] == 85_798_656
    assert sum(counts) == 111_907_840


def test_what_is_refused(images):
    with pytest.raises(ValueError, match="hidden must be None, 'token' or 'dropped', got 'zero'"):
        build(hidden='zero')
    with pytest.raises(ValueError, match=r'a mask of \(2, 2\) patches for \(4, 4\)'):
        build(hidden='token')(images, mask=TokenMask(torch.zeros(2, 2, 2, dtype=torch.bool), (0, 0)))
    with pytest.raises(ValueError, match='needs a mask that leaves equally many patches of each image'):
        build(hidden='dropped')(images, mask=TokenMask(hide(1).hidden, (0, 1)))
