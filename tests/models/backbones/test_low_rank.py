"""Low-rank adapters of transformers: what they compute, what learns, and files of the plain network."""

import copy

import pytest
import torch

from densecl.models.backbones.low_rank import LowRankLinear, add_low_rank, fold_low_rank, load_folded
from densecl.models.pretrainers import MomentumPretrainer
from densecl.registry import MODELS
from densecl.transfer import load_backbone, read_weights
from tests.models.pretrainers.test_start import snapshot, step

VIT = dict(type='TimmViT', arch='vit_tiny_patch16_224', img_size=64, depth=2)


def vit(rank=None):
    torch.manual_seed(0)
    backbone = MODELS.build(VIT)
    if rank is not None:
        add_low_rank(backbone, rank)
    return backbone.eval()


def learnt(backbone):
    """The additions no longer zero."""
    with torch.no_grad():
        for name, parameter in backbone.named_parameters():
            if name.endswith('low_rank_up'):
                parameter.normal_(std=0.1)
    return backbone


def test_an_adapted_layer_adds_the_product_of_two_matrices():
    layer = torch.nn.Linear(6, 5)
    LowRankLinear.adapt(layer, 2)
    x = torch.randn(3, 6)
    torch.testing.assert_close(layer(x), torch.nn.functional.linear(x, layer.weight, layer.bias))
    torch.nn.init.normal_(layer.low_rank_up)
    weight = layer.weight.double() + layer.low_rank_up.double() @ layer.low_rank_down.double()
    expected = x.double() @ weight.T + layer.bias.double()
    torch.testing.assert_close(layer(x).double(), expected, atol=1e-5, rtol=1e-5)
    learning = {name for name, parameter in layer.named_parameters() if parameter.requires_grad}
    assert learning == {'low_rank_down', 'low_rank_up'}


def test_gradients_are_exact_and_half_precision_stays_finite():
    layer = torch.nn.Linear(6, 5).double()
    LowRankLinear.adapt(layer, 2)
    torch.nn.init.normal_(layer.low_rank_up)
    x = torch.randn(3, 6, dtype=torch.double, requires_grad=True)
    x.data[0] = 0  # a zero vector
    factors = layer.low_rank_down, layer.low_rank_up

    def output(x, down, up):
        state = {'low_rank_down': down, 'low_rank_up': up}
        return torch.func.functional_call(layer, state, (x,))

    assert torch.autograd.gradcheck(output, (x, *factors))
    half = {name: tensor.half() for name, tensor in layer.state_dict().items()}
    half = {f'a.{name}': tensor for name, tensor in half.items()}
    folded = fold_low_rank(half)
    assert folded.keys() == {'a.weight', 'a.bias'} and folded['a.weight'].dtype == torch.float16
    exact = layer.weight + layer.low_rank_up @ layer.low_rank_down
    torch.testing.assert_close(folded['a.weight'].double(), exact, atol=5e-3, rtol=5e-3)


def test_a_folded_state_is_the_plain_network():
    adapted, plain = learnt(vit(3)), vit()
    folded = fold_low_rank(adapted.state_dict())
    plain.load_state_dict(folded)  # strict: no other names
    images = torch.randn(2, 3, 64, 64)
    for mine, theirs in zip(adapted(images), plain(images), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)
    assert fold_low_rank(folded) == folded


def test_a_folded_state_loads_into_the_adapted_network():
    adapted = learnt(vit(3))
    folded, other = fold_low_rank(adapted.state_dict()), learnt(vit(2))
    load_folded(other, folded)
    torch.testing.assert_close(fold_low_rank(other.state_dict()), folded)
    with pytest.raises(RuntimeError, match='pos_embed'):
        load_folded(other, {k: v for k, v in folded.items() if k != 'pos_embed'})


@pytest.mark.parametrize(
    ('backbone', 'rank', 'said'),
    [
        (VIT, 0, 'model.low_rank must be the rank of the adapters, 1 or more, got 0'),
        (dict(type='TorchvisionResNet', arch='resnet18'), 4, 'TorchvisionResNet has none'),
        (
            dict(type='TorchvisionFeatures', arch='swin_t', nodes=['features.7']),
            4,
            'attn.qkv of TorchvisionFeatures is no linear',
        ),
    ],
)
def test_what_cannot_be_adapted_is_refused(backbone, rank, said):
    with pytest.raises(ValueError, match=said):
        add_low_rank(MODELS.build(backbone), rank)


@pytest.mark.parametrize('arch', ['beit_base_patch16_224', 'vit_small_patch16_dinov3_qkvb'])
def test_queries_keys_and_values_with_biases_of_their_own_learn(arch):
    torch.manual_seed(0)
    plain = MODELS.build(dict(type='TimmViT', arch=arch, img_size=64, depth=1)).eval()
    adapted = copy.deepcopy(plain)
    add_low_rank(adapted, 2)
    images = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(adapted(images)[0], plain(images)[0], atol=1e-5, rtol=1e-4)
    learnt(adapted)(images)[0].square().sum().backward()
    assert all(p.grad.any() for name, p in adapted.named_parameters() if name.endswith('low_rank_down'))
    plain.load_state_dict(fold_low_rank(adapted.state_dict()))
    torch.testing.assert_close(adapted(images)[0], plain(images)[0], atol=1e-4, rtol=1e-4)


def pretrainer():
    torch.manual_seed(0)
    heads = dict(
        image=dict(
            projector=dict(type='MLP', channels=(192, 8)),
            objective=dict(type='InfoNCE', queue=0, batch='keys'),
        ),
        anchor=dict(
            target='start', units=dict(type='Cells', level=0), objective='Gram', pairs=((0, 0), (1, 1))
        ),
    )
    model = MomentumPretrainer(backbone=VIT, heads=heads, low_rank=2, momentum=0.9)
    model.init_weights()
    return model.train()


def test_only_the_additions_of_a_backbone_learn_and_its_file_is_plain(tmp_path):
    from tests.models.pretrainers.test_momentum import batch

    model = pretrainer()
    before = snapshot(model)
    optimizer = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), 0.1)
    for _ in range(3):
        step(model, optimizer, batch())
    moved = {n for n, v in model.state_dict().items() if not torch.equal(v, before[n]) and 'backbone' in n}
    assert moved and all('low_rank' in name for name in moved)
    assert {name.split('.')[0] for name in moved} == {
        'backbone',
        'target',
    }  # the target follows, the start not
    torch.save({'state_dict': model.state_dict(), 'meta': {}}, tmp_path / 'run.pth')
    assert not any('low_rank' in name for name in read_weights(tmp_path / 'run.pth').tensors)
    plain, images = vit(), torch.randn(2, 3, 64, 64)
    assert load_backbone(plain, tmp_path / 'run.pth', branch='online', min_match=1).missing == []
    model.eval()
    torch.testing.assert_close(plain(images)[0], model.backbone(images)[0], atol=1e-4, rtol=1e-4)


def test_weights_load_into_an_adapted_backbone_and_become_its_start():
    model, plain = pretrainer(), vit()
    with torch.no_grad():
        plain.blocks[1].attn.qkv.weight.add_(0.1)
    load_backbone(model, {'state_dict': plain.state_dict()}, min_match=1)
    for part in (model, model.start, model.target):
        torch.testing.assert_close(part.backbone.blocks[1].attn.qkv.weight, plain.blocks[1].attn.qkv.weight)
