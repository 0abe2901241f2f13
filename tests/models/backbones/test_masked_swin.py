"""What timm's Swin makes of a mask."""

import pytest
import timm
import torch

from densecl.registry import MODELS
from densecl.structures import TokenMask

SMALL = dict(embed_dim=8, depths=(1, 2, 1, 1), num_heads=(1, 2, 2, 4), img_size=96, window_size=3)
NAME = 'swin_tiny_patch4_window7_224'


def build(**kwargs):
    torch.manual_seed(0)
    config = dict(type='densecl.TimmBackbone', model_name=NAME, **SMALL, **kwargs)
    return MODELS.build(config).double().eval()


@pytest.fixture
def images():
    return torch.randn(2, 3, 96, 96, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_values_and_names_are_timms(images):
    swin = build(final_norm=True)
    whole = timm.create_model(NAME, num_classes=0, **SMALL).double().eval()
    names = {key.replace('layers_', 'layers.'): value for key, value in swin.state_dict().items()}
    assert not any(whole.load_state_dict(names))
    levels = swin(images)
    want = whole.forward_features(images).permute(0, 3, 1, 2)
    torch.testing.assert_close(levels[-1], want)
    assert [level.shape[1:] for level in levels] == [(8, 24, 24), (16, 12, 12), (32, 6, 6), (64, 3, 3)]
    assert 'norm.weight' not in build().state_dict() and not build().hides


@pytest.mark.parametrize('cells', [3, 6, 24])
def test_a_cell_hides_its_patches(images, cells):
    swin, side = build(hidden='token'), 96 // cells
    hidden = torch.zeros(2, cells, cells, dtype=torch.bool)
    hidden[:, 1, 2] = hidden[1, 0, 0] = True
    mask, other = TokenMask(hidden, (1, 2)), images.clone()
    other[:, :, side : 2 * side, 2 * side : 3 * side] = 7.0
    other[1, :, :side, :side] = -7.0
    torch.testing.assert_close(swin(images, mask=mask), swin(other, mask=mask), rtol=0, atol=0)
    patches = swin.patch_embed(images)
    for b, y, x in hidden.nonzero().tolist():
        per = 24 // cells
        patches[b, y * per : (y + 1) * per, x * per : (x + 1) * per] = swin.mask_token[0]
    torch.testing.assert_close(swin(images, mask=mask)[0], swin.layers_0(patches).permute(0, 3, 1, 2))


def test_gradients_reach_the_token_and_no_hidden_pixel(images):
    swin, images = build(hidden='token', out_indices=(3,)), images.requires_grad_()
    hidden = torch.zeros(2, 3, 3, dtype=torch.bool)
    hidden[:, 0, 1] = True
    swin(images, mask=TokenMask(hidden, (1, 1)))[0].pow(3).sum().backward()
    assert images.grad[:, :, :32, 32:64].abs().max() == 0 < images.grad[:, :, :32, :32].abs().min()
    assert swin.mask_token.grad.abs().sum() > 0


def test_images_of_another_size(images):
    (level,) = build(hidden='token', out_indices=(3,))(images[:, :, :50, :70])
    assert level.shape == (2, 64, 2, 3)


def test_what_is_refused(images):
    with pytest.raises(ValueError, match="hidden of a Swin must be None or 'token', got 'dropped'"):
        build(hidden='dropped')
    mask = TokenMask(torch.zeros(2, 5, 5, dtype=torch.bool), (0, 0))
    with pytest.raises(ValueError, match=r'a mask of \(5, 5\) cells does not divide \(24, 24\) patches'):
        build(hidden='token')(images, mask=mask)


def test_the_numbers_of_simmim():
    """Swin-B at 192 px, windows of 6: 128 channels, 6 x 6 cells of 32 px."""
    config = dict(type='densecl.TimmBackbone', model_name='swin_base_patch4_window7_224', hidden='token')
    with torch.device('meta'):
        swin = MODELS.build(dict(config, img_size=192, window_size=6, out_indices=(3,), final_norm=True))
    shapes = {name: tuple(p.shape) for name, p in swin.named_parameters()}
    assert shapes['mask_token'] == (1, 1, 128) and shapes['norm.weight'] == (1024,)
    tables = [s for n, s in shapes.items() if n.endswith('relative_position_bias_table')]
    assert len(tables) == 24 and tables[0] == (121, 4) and tables[-1] == (121, 32)
    assert [level.shape for level in swin(torch.zeros(1, 3, 192, 192, device='meta'))] == [(1, 1024, 6, 6)]
