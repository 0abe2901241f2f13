"""Blocks that compute again in the backward pass: the same numbers, less memory."""

import copy

import pytest
import torch

from densecl.models.backbones.recompute import blocks_of, recompute_blocks
from densecl.registry import MODELS
from densecl.structures import TokenMask

BACKBONES = {
    'resnet18': dict(type='TorchvisionResNet', arch='resnet18', out_indices=(1, 3)),
    'mm_resnet18': dict(type='mmdet.ResNet', depth=18),
    'efficientnet': dict(type='TimmBackbone', model_name='tf_efficientnet_lite0', drop_path_rate=0.2),
    'vit': dict(type='TimmViT', img_size=32, patch_size=8, embed_dim=48, depth=4, num_heads=4, drop_path=0.3),
}
BLOCKS = dict(resnet18=8, mm_resnet18=8, efficientnet=16, vit=4)


@pytest.fixture(scope='module', params=BACKBONES)
def pair(request):
    """Name, a backbone in float64, and its copy that computes again."""
    torch.manual_seed(0)
    plain = MODELS.build(BACKBONES[request.param]).double()
    plain.train()
    again = copy.deepcopy(plain)
    recompute_blocks(again)
    return request.param, plain, again


def two_passes(backbone, seed=1, autocast=False):
    """Loss of two batches that are in memory together, gradients, and numbers kept for the backward pass."""
    torch.manual_seed(seed)
    kept = {}

    def pack(x):
        kept[x.data_ptr()] = x.numel()
        return x

    loss = 0.0
    keeping = torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x)
    with keeping, torch.autocast('cpu', torch.bfloat16, enabled=autocast):
        for _ in range(2):
            levels = backbone(torch.randn(2, 3, 32, 32, dtype=next(backbone.parameters()).dtype))
            loss = loss + sum(x.double().square().mean() for x in levels)
    backbone.zero_grad()
    loss.backward()
    return loss, [p.grad for p in backbone.parameters()], sum(kept.values())


def test_twice_is_once(pair):
    _, _, again = pair
    kinds = [type(block) for block in blocks_of(again).values()]
    recompute_blocks(again)
    assert [type(block) for block in blocks_of(again).values()] == kinds


def test_nothing_but_the_memory_changes(pair):
    name, plain, again = pair
    assert list(again.state_dict()) == list(plain.state_dict())
    assert len(blocks_of(again)) == BLOCKS[name]
    again.load_state_dict(plain.state_dict())
    (want, want_gradients, want_kept), (got, gradients, kept) = two_passes(plain), two_passes(again)
    assert torch.equal(got, want)
    assert sum(g is not None for g in want_gradients) > 20
    for x, y in zip(gradients, want_gradients, strict=True):
        assert (x is None) == (y is None) and (x is None or torch.equal(x, y))
    for key, value in plain.state_dict().items():  # running statistics moved twice, not four times
        assert torch.equal(again.state_dict()[key], value), key
    weights = sum(p.numel() for p in plain.parameters())
    assert kept - weights < 0.45 * (want_kept - weights)
    assert not torch.equal(two_passes(plain, seed=2)[0], want)


def test_under_autocast_too():
    torch.manual_seed(0)
    plain = MODELS.build(BACKBONES['vit']).train()
    again = copy.deepcopy(plain)
    recompute_blocks(again)
    (want, want_gradients, _), (got, gradients, _) = (two_passes(x, autocast=True) for x in (plain, again))
    assert torch.equal(got, want)
    assert all(map(torch.equal, gradients, want_gradients))


@pytest.mark.parametrize('hidden', ['dropped', 'token'])
def test_with_patches_that_a_mask_hides(hidden):
    """A masked and a whole pass of one step, both in memory."""
    torch.manual_seed(0)
    plain = MODELS.build(dict(BACKBONES['vit'], hidden=hidden)).double().train()
    again = copy.deepcopy(plain)
    recompute_blocks(again)
    mask = TokenMask(torch.rand(2, 16).argsort(-1).view(2, 4, 4) < 12, (12, 12))
    images, found = torch.randn(2, 3, 32, 32, dtype=torch.float64), []
    for backbone in (plain, again):
        torch.manual_seed(1)
        levels = [*backbone(images, mask), *backbone(images)]
        sum(x.square().sum() for x in levels).backward()
        found.append([*(x.detach() for x in levels), *(p.grad for p in backbone.parameters())])
    assert all(map(torch.equal, *found))


def test_with_blocks_of_a_class_token_path():
    """BEiT v2: the further blocks are a list of their own, and count among the blocks."""
    torch.manual_seed(0)
    beit = dict(arch='beit_base_patch16_224', hidden='token', class_path=(2, 2), init_values=0.5)
    plain = MODELS.build(dict(BACKBONES['vit'], **beit)).double().train()
    again = copy.deepcopy(plain)
    recompute_blocks(again)
    assert [name for name in blocks_of(again) if name.startswith('cls_pt_layers')] == [
        f'cls_pt_layers.{i}' for i in range(2)
    ]
    mask = TokenMask(torch.rand(2, 4, 4) < 0.5, None)
    images, found = torch.randn(2, 3, 32, 32, dtype=torch.float64), []
    for backbone in (plain, again):
        torch.manual_seed(1)
        levels = backbone(images, mask)
        assert len(levels) == 3
        sum(x.square().sum() for x in levels).backward()
        found.append([*(x.detach() for x in levels), *(p.grad for p in backbone.parameters())])
    assert all(map(torch.equal, *found))


def test_a_pass_without_gradient_runs_once(pair):
    _, plain, again = pair
    calls = []
    block = next(iter(blocks_of(again).values()))
    handle = block.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        torch.manual_seed(3)
        got = again(torch.randn(2, 3, 32, 32, dtype=torch.float64))
        torch.manual_seed(3)
        want = plain(torch.randn(2, 3, 32, 32, dtype=torch.float64))
    handle.remove()
    assert calls == [1]
    assert not any(x.requires_grad for x in got)
    assert all(map(torch.equal, got, want))


def test_a_copy_computes_with_its_own_weights(pair):
    _, _, again = pair
    other = copy.deepcopy(again)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    other.eval(), again.eval()
    assert again(images)[-1].any() and not other(images)[-1].any()
    again.train()


def test_a_backbone_without_blocks_is_refused():
    traced = dict(type='TorchvisionFeatures', arch='mobilenet_v3_small', nodes=['features.12'])
    with pytest.raises(ValueError, match='checkpoint_activations: TorchvisionFeatures has no list of blocks'):
        recompute_blocks(MODELS.build(traced))
