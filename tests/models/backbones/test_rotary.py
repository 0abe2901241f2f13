"""Rotary positions against the formula, their rescaling, and transformers that have them."""

import copy
import math

import pytest
import timm
import torch
from timm.layers import RotaryEmbeddingDinoV3, apply_rot_embed_cat

from densecl.models.backbones.rotary import Rotary, border, rotary_table
from densecl.models.pretrainers.momentum import TargetBranch
from densecl.registry import MODELS
from densecl.structures import TokenMask
from tests.oracles import rotary as naive

SIZES = dict(img_size=32, patch_size=8, embed_dim=32, depth=3, num_heads=2)
DINOV3 = dict(SIZES, arch='vit_small_patch16_dinov3_qkvb', init_values=1.0)
CAPI = dict(SIZES, arch='vit_large_patch14_capi', num_reg_tokens=8, init='capi', hidden='dropped')


def build(attentive=True, **kwargs):
    """A network in which attention does something, unless its initial values are what is looked at."""
    torch.manual_seed(0)
    vit = MODELS.build(dict(type='densecl.TimmViT', **kwargs)).double().eval()
    for block in vit.blocks if attentive else ():
        torch.nn.init.normal_(block.attn.qkv.weight, std=0.5)
        torch.nn.init.normal_(block.attn.proj.weight, std=0.2)
    return vit


def hide(*places, batch=2):
    hidden = torch.zeros(batch, 16, dtype=torch.bool)
    hidden[:, list(places)] = True
    hidden[1:] = hidden[0].flip(0)
    return TokenMask(hidden.view(batch, 4, 4), (len(places), len(places)))


@pytest.fixture
def images():
    return torch.randn(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize('kind', ['dinov3', 'capi'])
def test_vectors_are_turned_by_the_formula(kind):
    h, w, dim = 3, 5, 8
    rope = Rotary(dim, kind).double()
    x = torch.randn(h * w, dim, dtype=torch.float64)
    found = apply_rot_embed_cat(x, rope.table(rope.coordinates((h, w))), half=True)
    turned = naive.turned_capi if kind == 'capi' else naive.turned_dinov3
    for i in range(h):
        for j in range(w):
            place = (
                (i / (h - 1), j / (w - 1)) if kind == 'capi' else ((2 * i + 1) / h - 1, (2 * j + 1) / w - 1)
            )
            want = torch.tensor(turned(x[i * w + j].tolist(), *place), dtype=torch.float64)
            torch.testing.assert_close(found[i * w + j], want, rtol=0, atol=1e-5)  # angles of float32


def test_tables_are_timms():
    for grid in ((4, 4), (7, 3)):
        theirs = RotaryEmbeddingDinoV3(16).eval().get_embed(list(grid))
        ours = Rotary(16)
        torch.testing.assert_close(ours.table(ours.coordinates(grid)), theirs, rtol=0, atol=2e-6)


def test_the_gradient_of_a_table():
    places = torch.rand(3, 2, dtype=torch.float64, requires_grad=True)
    frequencies = torch.rand(2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(rotary_table, (places, frequencies))


def test_every_block_has_a_factor_of_its_own():
    """One factor of all coordinates, log-uniform in [1/2, 2]; in eval mode, and of a target, none."""
    rope, plain = Rotary(8, rescale=2.0), Rotary(8)
    torch.manual_seed(0)
    tables = torch.stack(rope.tables((3, 4), 2000))
    # Of the longest period an angle stays below half a turn: its sine and cosine tell the factor.
    slow, sine, cosine = rope.frequencies[0].argmax() + 1, tables[:, 0, :8], tables[:, 0, 8:]
    angle = torch.atan2(sine[:, slow], cosine[:, slow])
    want = plain.table(plain.coordinates((3, 4)))[0]
    base = torch.atan2(want[slow], want[8 + slow])
    logs = (angle / base).log2()
    assert logs.abs().max() <= 1.0001 and logs.abs().max() > 0.98
    assert abs(logs.mean()) < 0.04 and abs(logs.std() - 1 / math.sqrt(3)) < 0.03
    factor = 2 ** logs[:5, None, None]
    again = rotary_table(plain.coordinates((3, 4)) * factor, plain.frequencies)
    torch.testing.assert_close(again, tables[:5], rtol=0, atol=1e-4)
    assert all(torch.equal(t, plain.tables((3, 4), 1)[0]) for t in rope.eval().tables((3, 4), 2))


def test_the_student_alone_is_rescaled_and_draws_by_the_seed(images):
    vit = build(**DINOV3, rope_rescale=2.0).train()
    target = TargetBranch(copy.deepcopy(vit), None, torch.nn.ModuleDict()).train().backbone
    runs = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        runs.append(vit(images)[0])
    assert torch.equal(runs[0], runs[1]) and (runs[0] - runs[2]).abs().max() > 1e-4
    torch.testing.assert_close(target(images)[0], vit.eval()(images)[0])


@pytest.mark.parametrize('arch', [DINOV3, CAPI])
def test_dropped_patches_take_their_places_along(images, arch):
    """All but the visible tokens cut out by attention itself: what a mask of -inf leaves."""
    vit, mask = build(**{**arch, 'hidden': 'dropped'}), hide(0, 5, 6, 7, 8, 9, 14)
    level, token = vit(images, mask=mask)
    other = images.clone()
    other[0, :, 0:8, 0:8] = 7.0  # hidden of the first image, seen of the second
    torch.testing.assert_close(vit(other, mask=mask), (level, token), rtol=0, atol=0)
    assert (level.flatten(2).abs().sum(1) > 0).equal(~mask.hidden.flatten(1))
    if arch is DINOV3:
        for image in range(2):
            blocked = torch.cat([torch.zeros(5, dtype=torch.bool), mask.hidden[image].flatten()])
            bias = torch.zeros(21, 21, dtype=torch.float64).masked_fill(blocked, -math.inf)
            patches = vit.patch_embed(images[image : image + 1])
            tokens, (placed, *_) = vit._tokens(patches.flatten(1, 2), (4, 4)), vit._placed((4, 4))
            for block in vit.blocks:
                tokens = block(tokens, attn_mask=bias, **placed)
            tokens = vit.norm(tokens)
            torch.testing.assert_close(token[image, :, 0, 0], tokens[0, 0])
            shown = ~mask.hidden[image].flatten()
            torch.testing.assert_close(level[image].flatten(1).T[shown], tokens[0, 5:][shown])


def test_an_empty_mask_is_no_mask(images):
    for arch in (dict(DINOV3, hidden='dropped'), CAPI):
        vit = build(**arch)
        torch.testing.assert_close(vit(images, mask=hide()), vit(images), rtol=1e-12, atol=1e-12)


def test_capi_is_its_formula(images):
    """All blocks of one image by hand: RMS norms, attention with turned registers, no bias anywhere."""
    vit, mask = build(**CAPI), hide(0, 3, 5, 6)
    for block in vit.blocks:
        for norm in (block.norm1, block.norm2):
            torch.nn.init.normal_(norm.weight, 1.0, 0.3)
    level, registers = vit(images, mask=mask)
    assert registers.shape == (2, 32, 1, 8)
    for image in range(2):
        shown = (~mask.hidden[image]).flatten().nonzero().flatten().tolist()
        seen = [(i // 4 / 3, i % 4 / 3) for i in shown]
        places = naive.registers_of(8, seen) + seen
        patches = vit.patch_embed(images[image : image + 1]).flatten(1, 2)[0]
        x = torch.cat([vit.reg_token[0], patches[shown]])
        for block in vit.blocks:
            q, k, v = (naive.rms(x, block.norm1.weight) @ block.attn.qkv.weight.T).chunk(3, 1)
            x = x + naive.attended(q, k, v, places, places, 2) @ block.attn.proj.weight.T
            inner = naive.gelu(naive.rms(x, block.norm2.weight) @ block.mlp.fc1.weight.T)
            x = x + inner @ block.mlp.fc2.weight.T
        x = naive.rms(x)
        torch.testing.assert_close(registers[image, :, 0].T, x[:8], rtol=0, atol=3e-4)
        torch.testing.assert_close(level[image].flatten(1).T[shown], x[8:], rtol=0, atol=3e-4)


def test_registers_lie_around_what_is_seen():
    seen = torch.tensor([[[0.25, 0.5], [0.75, 1.0], [0.5, 0.75]]])
    want = naive.registers_of(16, seen[0].tolist())
    torch.testing.assert_close(border(16, seen)[0], torch.tensor(want))


def test_initial_values_of_capi():
    vit = build(attentive=False, **{**CAPI, 'embed_dim': 64})
    for weight, sides in (
        (vit.blocks[0].attn.qkv.weight, 128),  # three matrices
        (vit.blocks[0].mlp.fc1.weight, 64 + 256),
        (vit.patch_embed.proj.weight, 3 * 64 + 64),
    ):
        assert weight.abs().max().item() == pytest.approx((6 / sides) ** 0.5, rel=0.02)
    assert vit.reg_token.std().item() == pytest.approx(0.02, rel=0.2)
    assert [n for n, _ in vit.named_parameters() if n.endswith('bias')] == ['patch_embed.proj.bias']
    assert all(block.norm1.eps == 1e-5 for block in vit.blocks) and not list(vit.norm.parameters())


def test_initial_values_of_dinov3():
    vit = build(attentive=False, **DINOV3, init='dinov3')
    for name in ('attn.proj', 'mlp.fc1', 'mlp.fc2'):
        for block in vit.blocks:
            assert block.get_submodule(name).weight.std().item() == pytest.approx(0.02, rel=0.1), name
    assert vit.reg_token.std().item() == pytest.approx(0.02, rel=0.2)


@pytest.mark.parametrize(
    'arch, count, sizes',
    [  # width, blocks, heads, tokens beside the patches
        ('vit_large_patch14_capi', 302_658_560, (1024, 24, 16, 16)),
        ('vit_small_patch14_dinov2', 22_056_192, (384, 12, 6, 1)),
        ('vit_base_patch14_reg4_dinov2', 86_582_016, (768, 12, 12, 5)),
        ('vit_large_patch14_dinov2', 304_367_616, (1024, 24, 16, 1)),
        ('vit_giant_patch14_dinov2', 1_136_479_232, (1536, 40, 24, 1)),
        ('vit_small_patch16_dinov3', 21_586_944, (384, 12, 6, 5)),
        ('vit_small_plus_patch16_dinov3', 28_683_264, (384, 12, 6, 5)),
        ('vit_base_patch16_dinov3', 85_641_216, (768, 12, 12, 5)),
        ('vit_large_patch16_dinov3', 303_079_424, (1024, 24, 16, 5)),
        ('vit_huge_plus_patch16_dinov3', 840_509_440, (1280, 32, 20, 5)),
        ('vit_7b_patch16_dinov3', 6_716_030_976, (4096, 40, 32, 5)),
    ],
)
def test_the_numbers_of_each_architecture(arch, count, sizes):
    with torch.device('meta'):
        vit = MODELS.build(dict(type='densecl.TimmViT', arch=arch))
    assert (vit.embed_dim, len(vit.blocks), vit.num_heads, vit.extra_tokens) == sizes
    width, depth, *_ = sizes
    assert sum(p.numel() for p in vit.parameters()) == count == by_hand(arch, width, depth, sizes[3])


def by_hand(arch, width, depth, extra):
    """Matrices and vectors of blocks, tokens and patch projection."""
    patch = int(arch.split('patch')[1][:2])
    stem = 3 * patch**2 * width + width + extra * width
    if arch.endswith('capi'):
        return stem + depth * (12 * width**2 + 2 * width)
    hidden = {'giant': 4096, 'small_plus': 1536, 'huge_plus': 5120, '7b': 8192}
    gated = next((n for key, n in hidden.items() if f'vit_{key}' in arch), None)
    mlp = 8 * width**2 + 5 * width if gated is None else 3 * width * gated + 2 * gated + width
    if 'dinov2' in arch:
        attention, positions = 4 * width**2 + 4 * width, ((518 // patch) ** 2 + (extra == 1)) * width
    else:  # no bias of query, key and value
        attention, positions = 4 * width**2 + width, 0
    return stem + positions + depth * (attention + mlp + 6 * width) + 2 * width


def test_swiglu_is_timms(images):
    sizes = {**DINOV3, 'arch': 'vit_small_plus_patch16_dinov3_qkvb'}
    vit = build(**sizes)
    twin = timm.create_model(sizes.pop('arch'), num_classes=0, **sizes).double().eval()
    twin.load_state_dict(vit.state_dict())
    tokens = twin.forward_features(images)
    torch.testing.assert_close(vit(images)[0].flatten(2).mT, tokens[:, 5:], rtol=0, atol=1e-4)


def test_half_precision(images):
    for arch in (DINOV3, CAPI):
        vit = build(attentive=False, **{**arch, 'hidden': 'dropped'}).float().train()
        with torch.autocast('cpu', dtype=torch.bfloat16):
            level = vit(images.float(), mask=hide(0, 1))[0]
        level.float().square().sum().backward()
        torch.testing.assert_close(level.float(), vit(images.float(), mask=hide(0, 1))[0], rtol=0.1, atol=0.1)
        assert all(p.grad.isfinite().all() for p in vit.parameters() if p.grad is not None)


def test_what_is_refused(images):
    with pytest.raises(
        ValueError, match='rope_rescale stretches rotary positions, which vit_small_patch16_224'
    ):
        build(**SIZES, rope_rescale=2.0)
    with pytest.raises(ValueError, match='rope_rescale must be a factor of at least 1, or None, got 0.5'):
        build(**DINOV3, rope_rescale=0.5)
    with pytest.raises(ValueError, match='heads of a multiple of 4 channels, got 6'):
        Rotary(6)
    with pytest.raises(ValueError, match='a multiple of 4 of them, got 5'):
        build(**{**CAPI, 'num_reg_tokens': 5})
    with pytest.raises(ValueError, match='without register tokens has none to return as the last level'):
        build(**{**CAPI, 'num_reg_tokens': 0})
