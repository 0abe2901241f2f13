"""BEiT's transformer: its bias by distance, its initial values, its mask."""

import pickle

import pytest
import timm
import torch
from timm.layers import resize_rel_pos_bias_table_simple

from densecl.models.backbones.beit import relative_bias, resize_distances
from densecl.registry import MODELS
from densecl.structures import TokenMask

SMALL = dict(img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=2)


def build(**kwargs):
    torch.manual_seed(0)
    config = dict(type='densecl.TimmViT', arch='beit_base_patch16_224', **{**SMALL, **kwargs})
    vit = MODELS.build(config).double().eval()
    tables = [p for name, p in vit.named_parameters() if name.endswith('relative_position_bias_table')]
    assert not any(table.any() for table in tables)
    for table in tables:
        torch.nn.init.normal_(table)
    return vit


@pytest.fixture
def images():
    return torch.randn(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_values_and_names_are_timms(images):
    vit = build(init_values=0.1)
    shared = dict(use_shared_rel_pos_bias=True, use_rel_pos_bias=False, use_fc_norm=False, num_classes=0)
    reference = timm.create_model('beit_base_patch16_224', init_values=0.1, **shared, **SMALL)
    reference = reference.double().eval()
    assert not any(reference.load_state_dict(vit.state_dict()))
    tokens = reference.forward_features(images)
    level, token = vit(images)
    torch.testing.assert_close(level.flatten(2).transpose(1, 2), tokens[:, 1:])
    torch.testing.assert_close(token[:, :, 0, 0], tokens[:, 0])


def test_a_whole_network_with_a_table_of_each_block_is_pickled(images):
    vit = build(use_rel_pos_bias=True)
    again = pickle.loads(pickle.dumps(vit))
    for mine, theirs in zip(vit(images), again(images), strict=True):
        assert torch.equal(mine, theirs)
    assert type(again.blocks[0].attn) is type(vit.blocks[0].attn)


def by_distance(table, grid):
    """(heads, 1 + n, 1 + n) by loops: what query q adds to key k."""
    (h, w), places = grid, [(y, x) for y in range(grid[0]) for x in range(grid[1])]
    bias = torch.empty(table.shape[1], 1 + h * w, 1 + h * w, dtype=table.dtype)
    bias[:, 0, :], bias[:, :, 0] = table[-3][:, None], table[-2][:, None]
    bias[:, 0, 0] = table[-1]
    for q, (y, x) in enumerate(places, 1):
        for k, (other_y, other_x) in enumerate(places, 1):
            bias[:, q, k] = table[(y - other_y + h - 1) * (2 * w - 1) + x - other_x + w - 1]
    return bias


def test_a_table_of_each_block_is_timms(images):
    """Fine-tuned networks: no table for all, and no norm before the mean of tokens."""
    own = dict(use_rel_pos_bias=True, init_values=0.1)
    vit = build(**own, final_norm=False)
    assert not [n for n in vit.state_dict() if n.startswith(('rel_pos_bias', 'norm'))]
    reference = timm.create_model('beit_base_patch16_224', num_classes=0, **own, **SMALL).double().eval()
    result = reference.load_state_dict(vit.state_dict(), strict=False)
    assert set(result.missing_keys) == {'fc_norm.weight', 'fc_norm.bias'} and not result.unexpected_keys
    tokens = reference.forward_features(images)
    level, token = vit(images)
    torch.testing.assert_close(level.flatten(2).transpose(1, 2), tokens[:, 1:])
    torch.testing.assert_close(token[:, :, 0, 0], tokens[:, 0])


def test_a_table_of_each_block_is_resized_and_trained(images):
    """Copies of a shared table are that table, for images of any size."""
    shared, own = build(), build(use_rel_pos_bias=True)
    names = dict(shared.state_dict())
    table = names.pop('rel_pos_bias.relative_position_bias_table')
    copies = {f'blocks.{i}.attn.relative_position_bias_table': table for i in range(2)}
    own.load_state_dict(names | copies)
    large = torch.randn(1, 3, 40, 61, dtype=torch.float64)
    for batch in (images, large):
        torch.testing.assert_close(own(batch), shared(batch), rtol=1e-12, atol=1e-12)
    own(large)[0].pow(3).sum().backward()
    shared(large)[0].pow(3).sum().backward()
    found = [block.attn.relative_position_bias_table.grad for block in own.blocks]
    assert all(gradient.abs().sum() > 0 for gradient in found)
    torch.testing.assert_close(sum(found), shared.rel_pos_bias.relative_position_bias_table.grad)


@pytest.mark.parametrize('grid', [(4, 4), (5, 8), (3, 2)])
def test_bias_of_any_grid(grid):
    positions = build().rel_pos_bias
    table = positions.relative_position_bias_table
    resized = table if grid == (4, 4) else resize_distances(table, (4, 4), grid)
    torch.testing.assert_close(relative_bias(positions, grid)[0], by_distance(resized, grid), rtol=0, atol=0)


def test_distances_are_resized_as_timm_does():
    table = torch.randn(27 * 27 + 3, 12)  # 14 x 14 patches, ViT-B
    found = resize_distances(table, (14, 14), (28, 28))
    assert found.shape == (55 * 55 + 3, 12)
    torch.testing.assert_close(found, resize_rel_pos_bias_table_simple(table, (28, 28), (55 * 55 + 3, 12)))
    assert torch.equal(found[-3:], table[-3:])


def test_images_of_another_size_train(images):
    vit = build()
    level, token = vit(torch.randn(1, 3, 40, 61, dtype=torch.float64))
    assert level.shape == (1, 24, 5, 8) and token.shape == (1, 24, 1, 1)
    level.pow(3).sum().backward()
    assert vit.rel_pos_bias.relative_position_bias_table.grad.abs().sum() > 0


def test_what_is_hidden_changes_nothing(images):
    vit, hidden = build(hidden='token'), torch.zeros(2, 4, 4, dtype=torch.bool)
    hidden[0, 0, 1], hidden[1, 3] = True, True  # not equally many
    mask = TokenMask(hidden, (1, 4))
    other = images.clone()
    other[0, :, 0:8, 8:16], other[1, :, 24:] = 7.0, -7.0
    torch.testing.assert_close(vit(images, mask=mask), vit(other, mask=mask), rtol=0, atol=0)
    assert (vit(images)[0] - vit(images, mask=mask)[0]).abs().max() > 0.01


def test_initial_values():
    """Normal, cut at one standard deviation; what blocks add is divided by sqrt(2 i)."""
    torch.manual_seed(0)
    config = dict(type='densecl.TimmViT', arch='beit_base_patch16_224', hidden='token', init='beit')
    vit = MODELS.build(dict(config, **{**SMALL, 'embed_dim': 192, 'depth': 3}))
    # of a normal distribution cut at one std, a std is 0.5396 of it
    for weight in (vit.patch_embed.proj.weight, vit.blocks[2].attn.qkv.weight, vit.blocks[2].mlp.fc1.weight):
        assert weight.abs().max() <= 0.02 and weight.std().item() == pytest.approx(0.02 * 0.5396, rel=0.02)
    for i, block in enumerate(vit.blocks, 1):
        for weight in (block.attn.proj.weight, block.mlp.fc2.weight):
            largest = weight.abs().max().item()
            assert largest == pytest.approx(0.02 / (2 * i) ** 0.5, rel=0.01)
    for token in (vit.cls_token, vit.mask_token):
        assert 0 < token.abs().max() <= 0.02
    assert vit.rel_pos_bias.relative_position_bias_table.abs().max() == 0
    assert vit.patch_embed.proj.bias.abs().max() == 0


def test_the_numbers_of_beit():
    with torch.device('meta'):
        vit = MODELS.build(dict(type='densecl.TimmViT', arch='beit_base_patch16_224'))
    table = vit.rel_pos_bias.relative_position_bias_table
    assert table.shape == (732, 12) and vit.pos_embed is None and vit.cls_token.shape == (1, 1, 768)
    assert {block.gamma_1.shape for block in vit.blocks} == {(768,)}
    # ViT-B/16 without its 197 positions, 732 x 12 distances, two scales a block, no bias of the key
    assert sum(p.numel() for p in vit.parameters()) == 85_798_656 - 197 * 768 + 732 * 12 + 12 * 768


def test_bfloat16(images):
    vit = build(hidden='token').float()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        level = vit(images.float(), mask=TokenMask(torch.ones(2, 4, 4, dtype=torch.bool), (16, 16)))[0]
    full = vit(images.float(), mask=TokenMask(torch.ones(2, 4, 4, dtype=torch.bool), (16, 16)))[0]
    torch.testing.assert_close(level.float(), full, rtol=0.1, atol=0.1)


def test_dropping_is_refused(images):
    mask = TokenMask(torch.eye(4, dtype=torch.bool).expand(2, 4, 4), (4, 4))
    for own in (False, True):
        with pytest.raises(ValueError, match='positions that are added or turn .RoPE., not relative ones'):
            build(hidden='dropped', use_rel_pos_bias=own)(images, mask=mask)


def test_the_class_token_path_by_hand(images):
    """Patches of block 2 with the last block's class token, both before the norm, through two more blocks."""
    vit = build(depth=4, hidden='token', class_path=(2, 2), init_values=0.5)
    hidden = torch.rand(2, 4, 4, generator=torch.Generator().manual_seed(2)) < 0.4
    path, last, token = vit(images, mask=TokenMask(hidden, None))
    patches = torch.where(hidden[..., None], vit.mask_token, vit.patch_embed(images)).flatten(1, 2)
    x = torch.cat([vit.cls_token.expand(2, -1, -1), patches], 1)
    placed = dict(
        shared_rel_pos_bias=by_distance(vit.rel_pos_bias.relative_position_bias_table, (4, 4))[None]
    )
    after = []
    for block in vit.blocks:
        x = block(x, **placed)
        after.append(x)
    y = torch.cat([x[:, :1], after[1][:, 1:]], 1)
    for block in vit.cls_pt_layers:
        y = block(y, **placed)
    torch.testing.assert_close(path.flatten(2).transpose(1, 2), vit.norm(y)[:, 1:])
    torch.testing.assert_close(last.flatten(2).transpose(1, 2), vit.norm(x)[:, 1:])
    torch.testing.assert_close(token[:, :, 0, 0], vit.norm(x)[:, 0])
    assert len(vit(images)) == 2  # features that nothing hides have no such level


def test_the_path_trains_every_block(images):
    """Those behind the patches' own through the class token alone."""
    vit = build(depth=4, hidden='token', class_path=(2, 1), init_values=0.5)
    path = vit(images, mask=TokenMask(torch.zeros(2, 4, 4, dtype=torch.bool), None))[0]
    path.square().sum().backward()
    assert all(p.grad is not None for n, p in vit.named_parameters() if 'mask' not in n)


def test_blocks_of_the_path_at_the_start():
    """torch's own values over sqrt(2 i); stochastic depth goes on growing from the block they follow."""
    rest = dict(hidden='token', init='beit', drop_path=0.4, init_values=0.1)
    vit = build(depth=4, embed_dim=64, class_path=(2, 3), **rest)
    bound = 1 / 64**0.5
    for number, block in enumerate(vit.cls_pt_layers, 3):
        largest = block.mlp.fc1.weight.abs().max().item()
        assert 0.95 * bound < largest <= bound
        rescaled = block.attn.proj.weight.abs().max().item() * (2 * number) ** 0.5
        assert 0.95 * bound < rescaled <= bound * (1 + 1e-6)
        assert block.drop_path1.drop_prob == pytest.approx(0.4 * (number - 1) / 4)  # of max(4, 2 + 3) blocks
        assert block.gamma_1.detach().allclose(torch.tensor(0.1).double()) and not block.attn.q_bias.any()
    first, second = (block.mlp.fc1.weight for block in vit.cls_pt_layers[:2])
    assert not torch.equal(first, second)


def test_blocks_of_the_path_drop_as_the_others_where_all_drop_alike():
    vit = build(depth=4, class_path=(2, 2), hidden='token', drop_path=0.4, drop_path_law='subset')
    assert {block.drop_path2.drop_prob for block in (*vit.blocks, *vit.cls_pt_layers)} == {0.4}


@pytest.mark.parametrize('wrong', [(0, 1), (2, 1), (1, 0)])
def test_paths_that_are_refused(wrong):
    with pytest.raises(ValueError, match='class_path=.* wants a block between 1 and 1'):
        build(class_path=wrong, hidden='token')


def test_a_path_that_nothing_would_train_is_refused():
    with pytest.raises(ValueError, match='class_path works where a mask hides patches'):
        build(class_path=(1, 1))
