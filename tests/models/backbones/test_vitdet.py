"""The transformer of detectors: windows, positions relative along height and width, pretrained weights."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from densecl.models.backbones.vitdet import MapAttention, join_windows, map_attention, split_windows
from densecl.planning.fake import fake_copy, fake_tensor
from densecl.registry import MODELS
from densecl.transfer import export_backbone, load_backbone
from tests.models.played_device import PlayedDevice
from tests.oracles.windows import attended

SMALL = dict(img_size=32, patch_size=8, embed_dim=24, depth=4, num_heads=2)
PLAIN = dict(SMALL, type='densecl.TimmViT', output_cls_token=False, out_indices=(1, 3))


def build(random=False, seed=0, **kwargs):
    torch.manual_seed(seed)
    options = dict(window=2, global_blocks=(1, 3), out_indices=(1, 3))
    vit = MODELS.build(dict(SMALL, type='densecl.ViTDet', **{**options, **kwargs})).double().eval()
    tables = [p for name, p in vit.named_parameters() if 'rel_pos' in name]
    assert not any(table.any() for table in tables)
    for table in tables if random else ():
        torch.nn.init.normal_(table, std=0.5)
    return vit


def attention(window, grid, random=True):
    torch.manual_seed(1)
    layer = MODELS.build(dict(PLAIN, embed_dim=8, depth=1, out_indices=(0,))).blocks[0].attn
    layer = MapAttention(layer, window, grid).double()
    for parameter in layer.parameters() if random else ():
        torch.nn.init.normal_(parameter, std=0.5)
    return layer


def by_hand(layer, x, heads=2):
    weights = (layer.qkv.weight, layer.qkv.bias, layer.proj.weight, layer.proj.bias)
    tables = (layer.rel_pos_h, layer.rel_pos_w)
    return torch.stack([attended(each, weights, heads, layer.window, *tables) for each in x])


@pytest.fixture
def images():
    return torch.randn(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ('window', 'size', 'grid'),
    [
        (None, (3, 4), (3, 4)),
        (None, (3, 4), None),
        (2, (4, 6), (4, 6)),
        (3, (4, 5), (4, 5)),
        (3, (4, 5), None),
        (5, (4, 3), (4, 3)),
    ],
)
def test_attention_is_the_formulas(window, size, grid):
    """The whole map, windows that divide it, and windows that stand out; values and all gradients."""
    layer = attention(window, grid)
    x = torch.randn(2, *size, 8, dtype=torch.float64, requires_grad=True)
    found, want = layer(x), by_hand(layer, x)
    torch.testing.assert_close(found, want, rtol=1e-10, atol=1e-12)
    inputs, weights = (x, *layer.parameters()), torch.randn_like(want)
    gradients = (torch.autograd.grad((y * weights).sum(), inputs) for y in (found, want))
    for one, other in zip(*gradients, strict=True):
        assert one.abs().sum() > 0
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


def test_gradients_of_the_function():
    generator = torch.Generator().manual_seed(0)
    shapes = ((1, 2, 6, 4), (1, 2, 6, 4), (1, 2, 6, 4), (3, 4), (7, 4))  # columns are interpolated, 7 to 5
    given = [torch.randn(s, dtype=torch.float64, generator=generator, requires_grad=True) for s in shapes]
    assert torch.autograd.gradcheck(lambda q, k, v, h, w: map_attention(q, k, v, (2, 3), h, w), given)


def test_a_window_as_large_as_the_map_is_global(images):
    inside, whole = build(random=True, window=4, global_blocks=()), build(global_blocks=(0, 1, 2, 3))
    whole.load_state_dict(inside.state_dict())
    torch.testing.assert_close(inside(images), whole(images), rtol=0, atol=0)
    assert (build(random=True)(images)[1] - whole(images)[1]).abs().max() > 0.01


@pytest.mark.parametrize('size', [(32, 32), (40, 61)])
def test_zero_tables_change_nothing(size):
    """Global blocks are TimmViT's without its class token; windows are the same with and without tables."""
    images = torch.randn(2, 3, *size, dtype=torch.float64)
    with_tables, without = build(), build(relative_positions=False)
    assert not any('rel_pos' in name for name in without.state_dict())
    assert not without.load_state_dict(with_tables.state_dict(), strict=False).missing_keys
    torch.testing.assert_close(with_tables(images), without(images), rtol=1e-12, atol=1e-12)
    vit = MODELS.build(PLAIN | dict(final_norm=False)).double().eval()
    everywhere = build(window=None)
    everywhere.load_state_dict(vit.state_dict(), strict=False)
    vit.cls_token, vit.extra_tokens = None, 0
    patches = vit.patch_embed(images)
    positions = everywhere.pos_embed if size == (32, 32) else None
    levels = everywhere(images)
    assert [level.shape[2:] for level in levels] == [patches.shape[1:3]] * 2
    if positions is not None:
        x = patches.flatten(1, 2) + positions[:, 1:]
        for block in vit.blocks:
            x = block(x)
        torch.testing.assert_close(levels[1].flatten(2).transpose(1, 2), x, rtol=1e-10, atol=1e-12)


def test_the_norm_in_front_of_clips_blocks_takes_part(images):
    clip = dict(PLAIN, arch='vit_base_patch16_clip_224', final_norm=False)
    vit = MODELS.build(clip).double().eval()
    torch.nn.init.normal_(vit.norm_pre.weight)
    everywhere = build(window=None, arch=clip['arch'])
    everywhere.load_state_dict(vit.state_dict(), strict=False)
    x = vit.norm_pre(vit.patch_embed(images).flatten(1, 2) + vit.pos_embed[:, 1:])
    for block in vit.blocks:
        x = block(x)
    got = everywhere(images)[1].flatten(2).transpose(1, 2)
    torch.testing.assert_close(got, x, rtol=1e-10, atol=1e-12)


def test_windows_there_and_back():
    x = torch.arange(2 * 5 * 4 * 3.0).view(2, 5, 4, 3)
    parts = split_windows(x, 3)
    assert parts.shape == (2 * 2 * 2, 3, 3, 3)
    torch.testing.assert_close(parts[1, :, :1], x[0, :3, 3:])  # the first row of windows, its second
    assert not parts[1, :, 1:].any() and not parts[2, 2].any()
    assert torch.equal(join_windows(parts, (5, 4)), x)


def test_an_image_of_another_size_reaches_every_parameter():
    vit = build(random=True).train()
    levels = vit(torch.randn(2, 3, 40, 61, dtype=torch.float64))
    assert [level.shape for level in levels] == [(2, 24, 5, 8)] * 2
    sum(level.pow(2).sum() for level in levels).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in vit.parameters())
    assert all(b.attn.rel_pos_h.grad.any() and b.attn.rel_pos_w.grad.any() for b in vit.blocks)


def test_blocks_that_compute_again_are_the_same(images):
    options = dict(random=True, drop_path=0.3)
    plain, again = (build(checkpoint_activations=c, **options).train() for c in (False, True))
    found = []
    again.load_state_dict(plain.state_dict())
    for vit in (plain, again):
        torch.manual_seed(2)
        levels = vit(images)
        sum(level.square().sum() for level in levels).backward()
        found.append([*(x.detach() for x in levels), *(p.grad for p in vit.parameters())])
    assert all(map(torch.equal, *found))
    assert type(again.blocks[0]).__name__ == 'RecomputedBlock'


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision(images, dtype):
    vit = build(random=True).float()
    with torch.autocast('cpu', dtype=dtype):
        half = vit(images.float())[1]
    torch.testing.assert_close(half.float(), vit(images.float())[1], rtol=0.1, atol=0.1)


def test_nothing_waits_for_the_device():
    """On a played one, with maps that windows do not divide and global tables that are interpolated."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    vit, device = fake_copy(mode, build(random=True).train(), 'cuda'), PlayedDevice(mode)
    with device:
        levels = vit(fake_tensor(mode, torch.zeros(2, 3, 40, 61, dtype=torch.float64), 'cuda'))
    assert levels[1].shape == (2, 24, 5, 8) and levels[1].is_cuda and not device.waits


def pretrained_mae():
    torch.manual_seed(5)
    mae = dict(SMALL, type='densecl.TimmViT', hidden='dropped', pos_embed='sincos-mae', init='mae')
    vit = MODELS.build(mae)
    return vit, dict(state_dict={f'backbone.{k}': v for k, v in vit.state_dict().items()})


def test_weights_of_mae_go_in():
    """Relative positions are not missed; those that are added grow with the image."""
    mae, content = pretrained_mae()
    vit = build(img_size=64).float()
    report = load_backbone(vit, content)
    assert report.fraction == 1 and report.resized == 'pos_embed 4x4 -> 8x8' and not report.missing
    assert report.unexpected == ['cls_token', 'norm.weight', 'norm.bias']
    assert 'relative positions start at 0' in str(report)
    assert torch.equal(vit.blocks[2].attn.qkv.weight, mae.blocks[2].attn.qkv.weight)
    assert vit.pos_embed.requires_grad


def test_there_and_back_through_an_export():
    trained = build(random=True, seed=3).float()
    config = dict(SMALL, type='densecl.ViTDet', window=2, global_blocks=(1, 3), out_indices=(1, 3))
    content = dict(state_dict={f'backbone.{k}': v for k, v in trained.state_dict().items()})
    content['meta'] = dict(cfg=f'model = {dict(backbone=config)!r}\n')
    export = export_backbone(content, 'timm')
    assert export['meta']['num_heads'] == 2 and "type='densecl.ViTDet'" in export['meta']['how_to_load']
    fresh, images = build(seed=4).float(), torch.randn(1, 3, 32, 32)
    report = load_backbone(fresh, export)
    assert report.fraction == 1 and 'start at 0' not in str(report)
    torch.testing.assert_close(fresh(images), trained(images), rtol=0, atol=0)
    large = build(img_size=64).float()
    report = load_backbone(large, export)
    assert report.fraction == 1 and not report.mismatched
    images = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(large(images), trained(images), rtol=1e-4, atol=1e-5)
    with pytest.raises(RuntimeError, match="along height and width.*backbone.type='densecl.ViTDet'"):
        load_backbone(MODELS.build(dict(PLAIN, final_norm=False)), export)
    with pytest.raises(ValueError, match='no counterpart for blocks.0.attn.rel_pos_h'):
        export_backbone(content, 'mmdet')


def test_what_is_refused():
    with pytest.raises(ValueError, match=r'global_blocks must be in 0..3, got \(1, 4\)'):
        build(global_blocks=(1, 4))
    with pytest.raises(ValueError, match='window must be a side in patches, above 0, or None, got 0'):
        build(window=0)
    for options in (
        dict(reg_tokens=2),
        dict(arch='beit_base_patch16_224'),
        dict(hidden='token'),
        dict(output_attention=True),
    ):
        with pytest.raises(ValueError, match='ViTDet: arch must be a ViT whose positions are added'):
            build(**options)
    for rate in ('attn_drop_rate', 'proj_drop_rate'):
        with pytest.raises(ValueError, match='attention has no dropout here: leave out attn_drop_rate'):
            build(**{rate: 0.1})
    with pytest.raises(ValueError, match='attention with .*gate.* is not known'):
        layer = MODELS.build(PLAIN).blocks[0].attn
        layer.gate = torch.nn.Linear(24, 24)
        MapAttention(layer, 2, None)


def test_the_numbers_of_the_paper():
    """ViT-B at 1024 px: 14 x 14 windows in eight blocks, 64 x 64 cells in four."""
    with torch.device('meta'):
        vit = MODELS.build(dict(type='densecl.ViTDet', img_size=1024))
    shapes = {name: tuple(p.shape) for name, p in vit.named_parameters()}
    for i in range(12):
        tables = {shapes[f'blocks.{i}.attn.rel_pos_{side}'] for side in 'hw'}
        assert tables == {(127 if i in (2, 5, 8, 11) else 27, 64)}
    assert shapes['pos_embed'] == (1, 4097, 768) and not {'cls_token', 'norm.weight'} & shapes.keys()
    assert [level.shape for level in vit(torch.zeros(1, 3, 1024, 1024, device='meta'))] == [(1, 768, 64, 64)]
