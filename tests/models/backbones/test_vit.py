"""TimmViT: timm's network and names, levels of the promised shapes, MoCo v3's constants."""

import copy
import math
from collections import OrderedDict

import pytest
import timm
import torch
from torch import nn

from densecl.models.backbones.timm import resize_positions, sincos_positions, value_features
from densecl.registry import MODELS
from densecl.structures import TokenMask

SLIM = dict(type='TimmViT', num_heads=3, embed_dim=192, depth=4, img_size=96)


def build(**kwargs):
    torch.manual_seed(0)
    return MODELS.build({**SLIM, **kwargs})


def timm_twin(vit, **kwargs):
    """timm's own model with the same weights."""
    model = timm.models.VisionTransformer(
        img_size=96, embed_dim=192, depth=4, num_heads=3, num_classes=0, **kwargs
    )
    model.load_state_dict(vit.state_dict())
    return model.eval()


def test_names_are_timms():
    vit = MODELS.build(dict(type='TimmViT'))
    names = timm.create_model('vit_small_patch16_224', num_classes=0).state_dict()
    own = vit.state_dict()
    assert {k: v.shape for k, v in own.items()} == {k: v.shape for k, v in names.items()}
    assert (vit.num_heads, vit.embed_dim, len(vit.blocks)) == (6, 384, 12)
    assert {m.eps for m in vit.modules() if isinstance(m, nn.LayerNorm)} == {1e-6}


def test_levels_are_timms_tokens():
    vit = build(out_indices=(1, -1)).eval()
    image = torch.randn(2, 3, 96, 96)
    tokens = timm_twin(vit).forward_features(image)  # (B, 1 + 36, C), normalised
    raw = timm_twin(vit).forward_intermediates(image, indices=[1], intermediates_only=True)[0]
    early, late, token = vit(image)
    torch.testing.assert_close(early, raw)
    torch.testing.assert_close(late, tokens[:, 1:].transpose(1, 2).reshape(2, 192, 6, 6))
    torch.testing.assert_close(token[:, :, 0, 0], tokens[:, 0])
    assert token.shape == (2, 192, 1, 1)
    assert len(build(output_cls_token=False)(image)) == 1


def test_any_size_positions_follow():
    """Another size equals timm's model with the position embedding interpolated beforehand."""
    vit = build().eval()
    for size, grid in (((224, 224), (14, 14)), ((64, 160), (4, 10))):
        twin = timm.models.VisionTransformer(
            img_size=size, embed_dim=192, depth=4, num_heads=3, num_classes=0
        ).eval()
        patches = vit.pos_embed[:, 1:].reshape(1, 6, 6, 192).permute(0, 3, 1, 2)
        patches = nn.functional.interpolate(patches, grid, mode='bicubic').flatten(2).mT
        state = vit.state_dict() | {'pos_embed': torch.cat([vit.pos_embed[:, :1], patches], 1)}
        twin.load_state_dict(state)
        image = torch.randn(1, 3, *size)
        expected = twin.forward_features(image)[:, 1:].mT.reshape(1, 192, *grid)
        torch.testing.assert_close(vit(image)[0], expected)
    cut = torch.randn(1, 3, 70, 90)
    padded = nn.functional.pad(cut, (0, 6, 0, 10))
    torch.testing.assert_close(vit(cut)[0], vit(padded)[0])


REGISTERS = dict(arch='vit_small_patch14_reg4_dinov2', patch_size=14, img_size=84)
ROTARY = dict(arch='vit_small_patch16_dinov3_qkvb', patch_size=16, img_size=96)


@pytest.mark.parametrize(
    'arch', [REGISTERS, ROTARY, dict(arch='vit_small_patch16_224', img_size=96, reg_tokens=2)]
)
def test_register_tokens_and_rotary_positions_are_timms(arch):
    sizes = dict(arch, embed_dim=64, depth=2, num_heads=2)
    vit = MODELS.build(dict(type='TimmViT', out_indices=(0, 1), **sizes)).eval()
    twin = timm.create_model(sizes.pop('arch'), num_classes=0, dynamic_img_size=True, **sizes).eval()
    for parameter in twin.parameters():
        nn.init.normal_(parameter, std=0.2)
    vit.load_state_dict(twin.state_dict())
    image = torch.randn(2, 3, arch['img_size'], arch['img_size'])
    early, late, token = vit(image)
    tokens, extra = twin.forward_features(image), twin.num_prefix_tokens
    assert extra == 1 + vit.reg_token.shape[1] and late.shape == (2, 64, 6, 6)
    torch.testing.assert_close(late.flatten(2).mT, tokens[:, extra:])
    torch.testing.assert_close(token[:, :, 0, 0], tokens[:, 0])
    raw = twin.forward_intermediates(image, indices=[0], intermediates_only=True)[0]
    torch.testing.assert_close(early, raw)
    other = vit(torch.randn(1, 3, 70, 90))[1]
    assert other.shape[2:] == (
        -(-70 // vit.patch_embed.patch_size[0]),
        -(-90 // vit.patch_embed.patch_size[0]),
    )


def test_resizing_keeps_the_token_and_constants():
    positions = torch.randn(1, 1 + 12, 8)
    assert resize_positions(positions, (3, 4), (3, 4)) is positions
    wide = resize_positions(positions, (3, 4), (6, 2))
    assert wide.shape == (1, 13, 8) and torch.equal(wide[:, 0], positions[:, 0])
    flat = torch.full((1, 13, 8), 2.5)
    torch.testing.assert_close(resize_positions(flat, (3, 4), (7, 9)), torch.full((1, 64, 8), 2.5))


def test_sincos_of_mocov3():
    """[sin y w, cos y w, sin x w, cos x w] with w_i = 10000^(-i / (C / 4)); zero for the class token."""
    h, w, dim = 3, 5, 16
    table = sincos_positions((h, w), dim)
    assert table.shape == (1, 1 + h * w, dim) and table[0, 0].abs().sum() == 0
    for y in range(h):
        for x in range(w):
            waves = [10000 ** (-i / 4) for i in range(4)]
            expected = [f(p * o) for p in (y, x) for f in (math.sin, math.cos) for o in waves]
            got = table[0, 1 + y * w + x].double()
            assert (got - torch.tensor(expected, dtype=torch.float64)).abs().max() < 1e-6
    with pytest.raises(ValueError, match='multiple of 4'):
        sincos_positions((2, 2), 6)


def test_mocov3_initialisation():
    vit = build(num_heads=12, pos_embed='sincos', init='mocov3', freeze_patch_embed=True)
    frozen = {name for name, p in vit.named_parameters() if not p.requires_grad}
    assert frozen == {'pos_embed', 'patch_embed.proj.weight', 'patch_embed.proj.bias'}
    bounds = {
        'attn.qkv.weight': math.sqrt(6 / (192 + 192)),  # three (192, 192) matrices
        'attn.proj.weight': math.sqrt(6 / (192 + 192)),
        'mlp.fc1.weight': math.sqrt(6 / (192 + 768)),
        'patch_embed.proj.weight': math.sqrt(6 / (3 * 16**2 + 192)),
    }
    for end, bound in bounds.items():
        for weight in (p for n, p in vit.named_parameters() if n.endswith(end)):
            assert 0.99 * bound < weight.abs().max() <= bound
            assert abs(weight.std().item() / (bound / math.sqrt(3)) - 1) < 0.02
    layers = [m for m in vit.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    assert all(m.bias.abs().sum() == 0 for m in layers)
    assert 0 < vit.cls_token.std() < 3e-6
    token, table = vit.pos_embed[0, 0], sincos_positions((6, 6), 192)
    assert token.abs().sum() == 0 and torch.equal(vit.pos_embed, table)
    vit(torch.randn(1, 3, 96, 96))[-1].sum().backward()
    assert vit.patch_embed.proj.weight.grad is None and vit.cls_token.grad is not None


def test_drop_path_is_off_where_its_probability_is_zero():
    """A momentum target is a copy in training mode whose ``drop_prob`` are set to 0."""
    vit = build(drop_path=0.5)
    rates = [m.drop_prob for m in vit.modules() if hasattr(m, 'drop_prob')]
    assert rates == pytest.approx([r for r in (0.5 / 3, 1 / 3, 0.5) for _ in range(2)])
    target = copy.deepcopy(vit)
    for module in target.modules():
        if hasattr(module, 'drop_prob'):
            module.drop_prob = 0.0
    image = torch.randn(4, 3, 96, 96)
    still = vit.eval()(image)[-1]
    assert torch.equal(target.train()(image)[-1], still)
    assert not torch.allclose(vit.train()(image)[-1], still)


def test_gradients_reach_every_parameter():
    vit = build()
    maps, token = vit(torch.randn(2, 3, 64, 96))
    (maps.square().mean() + token.square().mean()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in vit.parameters())


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(pos_embed='rotary'), "pos_embed must be 'learned', 'sincos' or 'sincos-mae'"),
        (dict(init='zero'), "init must be 'timm', 'mocov3', 'mae', 'beit'"),
        (dict(out_indices=(4,)), r'out_indices \(4,\) with 4 blocks'),
        (dict(class_token=False, global_pool='avg'), 'no plain ViT'),
    ],
)
def test_what_it_refuses(kwargs, message):
    with pytest.raises(ValueError, match=message):
        build(**kwargs)


@pytest.mark.parametrize(
    'arch',
    [
        'resnet18',
        'deit_tiny_distilled_patch16_224',
        'no_such_model',
        'eva02_tiny_patch14_224',
        'vit_small_patch16_18x2_224',
    ],
)
def test_other_architectures_are_refused(arch):
    with pytest.raises(ValueError, match=f"'{arch}' is no plain ViT"):
        MODELS.build(dict(type='TimmViT', arch=arch))


def test_attention_is_returned_where_patches_are_dropped_too():
    vit = build(output_attention=True, hidden='dropped').eval()
    hidden = torch.zeros(2, 6, 6, dtype=torch.bool)
    hidden[:, :3] = True
    attention = vit(torch.rand(2, 3, 96, 96), TokenMask(hidden, (18, 18)))[0]
    assert attention.shape == (2, 3, 6, 6)
    assert (attention[:, :, :3] == 0).all() and (attention[:, :, 3:] > 0).all()


def test_attention_and_values_of_networks_with_relative_or_rotary_positions_are_refused():
    small = dict(depth=2, embed_dim=64, num_heads=1)
    with pytest.raises(ValueError, match='output_attention wants a class token'):
        build(arch='beit_base_patch16_224', use_rel_pos_bias=True, output_attention=True, **small)
    with pytest.raises(ValueError, match='take the map: --maps'):
        value_features(build(arch='vit_small_patch16_dinov3', **small), torch.rand(1, 3, 96, 96))


def test_layer_scale_models_work():
    vit = build(init_values=0.1)
    assert isinstance(vit.state_dict(), OrderedDict) and 'blocks.0.ls1.gamma' in vit.state_dict()
    assert vit(torch.randn(1, 3, 96, 96))[0].shape == (1, 192, 6, 6)
