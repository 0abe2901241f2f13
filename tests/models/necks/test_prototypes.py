"""Prototype projectors: forms, gradients, and the layout of the official state dicts."""

import copy

import pytest
import torch
import torch.nn.functional as F

from densecl.models.necks import PrototypeProjector


def swav(**kwargs):
    return PrototypeProjector((6, 7, 5), prototypes=11, norm=True, bias=True, **kwargs).double()


def dino(**kwargs):
    settings = dict(activation='GELU', init='trunc_normal', weight_norm=True)
    return PrototypeProjector((6, 7, 8, 5), prototypes=11, **{**settings, **kwargs}).double()


def shapes(module, renamed):
    found = {}
    for name, value in module.state_dict().items():
        for mine, theirs in renamed.items():
            if name.startswith(mine):
                name = theirs + name[len(mine) :]
        found[name] = tuple(value.shape)
    return found


def test_state_dict_of_swav():
    """projection_head = Linear, BN, ReLU, Linear; prototypes without bias (src/resnet50.py)."""
    projector = PrototypeProjector((2048, 2048, 128), prototypes=3000, norm=True, bias=True)
    assert shapes(projector, {'mlp.': 'projection_head.'}) == {
        'projection_head.0.weight': (2048, 2048),
        'projection_head.0.bias': (2048,),
        'projection_head.1.weight': (2048,),
        'projection_head.1.bias': (2048,),
        'projection_head.1.running_mean': (2048,),
        'projection_head.1.running_var': (2048,),
        'projection_head.1.num_batches_tracked': (),
        'projection_head.3.weight': (128, 2048),
        'projection_head.3.bias': (128,),
        'prototypes.weight': (3000, 128),
    }


def test_state_dict_and_initialisation_of_dino():
    """mlp = 3 x Linear with GELU between, then a weight-normed last layer (vision_transformer.py)."""
    projector = PrototypeProjector(
        (384, 512, 512, 256),
        prototypes=300,
        activation='GELU',
        init='trunc_normal',
        weight_norm=True,
    )
    assert shapes(projector, {'prototypes.': 'last_layer.'}) == {
        'mlp.0.weight': (512, 384),
        'mlp.0.bias': (512,),
        'mlp.2.weight': (512, 512),
        'mlp.2.bias': (512,),
        'mlp.4.weight': (256, 512),
        'mlp.4.bias': (256,),
        'last_layer.weight_g': (300, 1),
        'last_layer.weight_v': (300, 256),
    }
    for i in (0, 2, 4):
        assert projector.mlp[i].weight.std().item() == pytest.approx(0.02, rel=0.02)
        assert projector.mlp[i].bias.abs().max() == 0
    assert torch.equal(projector.prototypes.weight_g, torch.ones(300, 1))
    assert not projector.prototypes.weight_g.requires_grad
    # torch's default of nn.Linear: uniform within 1 / sqrt(256)
    assert 0.99 / 16 < projector.prototypes.weight_v.abs().max() <= 1 / 16
    assert dino(learn_length=True).prototypes.weight_g.requires_grad


@pytest.mark.parametrize('make', [swav, dino])
def test_scores_are_cosines(make):
    projector = make()
    projector.prototypes.normalize_()
    x = torch.randn(9, 6, dtype=torch.float64)
    embeddings, scores = projector.embed(x), projector(x)
    torch.testing.assert_close(embeddings, F.normalize(projector.mlp(x), dim=1))
    weight = getattr(projector.prototypes, 'weight', None)
    weight = projector.prototypes.weight_v if weight is None else weight
    for i in range(9):
        for k in range(11):
            want = F.cosine_similarity(embeddings[i], weight[k], dim=0)
            assert scores[i, k].item() == pytest.approx(want.item(), abs=1e-12)
    assert torch.equal(scores, projector.prototypes(embeddings))


def test_normalising_changes_the_length_alone():
    prototypes = swav().prototypes
    with torch.no_grad():
        prototypes.weight.mul_(torch.arange(1, 12)[:, None])
    before = prototypes.weight.clone()
    prototypes.normalize_()
    torch.testing.assert_close(prototypes.weight.norm(dim=1), torch.ones(11).double())
    torch.testing.assert_close(prototypes.weight, before / before.norm(dim=1, keepdim=True))


def test_weight_norm_has_no_gradient_along_a_prototype():
    projector = dino(learn_length=True)
    projector(torch.randn(9, 6, dtype=torch.float64)).square().sum().backward()
    layer = projector.prototypes
    along = (layer.weight_v * layer.weight_v.grad).sum(1)
    torch.testing.assert_close(along, torch.zeros(11).double(), rtol=0, atol=1e-12)
    assert torch.autograd.gradcheck(
        lambda v, g: torch.func.functional_call(
            layer, dict(weight_v=v, weight_g=g), F.normalize(torch.ones(2, 5).double(), dim=1)
        ),
        (layer.weight_v, layer.weight_g),
    )


def test_scores_stay_in_float32_under_autocast():
    projector = PrototypeProjector((6, 5), prototypes=11)
    x = torch.randn(9, 6)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        embeddings = projector.embed(x)
        scores = projector.prototypes(embeddings)
    assert embeddings.dtype == scores.dtype == torch.float32
    assert torch.equal(scores, projector.prototypes(embeddings))


def test_can_be_copied_after_use():
    projector = dino()
    x = torch.randn(3, 6, dtype=torch.float64)
    projector(x).sum().backward()
    assert torch.equal(copy.deepcopy(projector)(x), projector(x))


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match='prototypes must be at least 2, got 1'):
        PrototypeProjector((6, 5), prototypes=1)
    with pytest.raises(ValueError, match='learn_length=True needs weight_norm=True'):
        PrototypeProjector((6, 5), prototypes=4, learn_length=True)


def test_plain_prototypes_are_a_linear_layer():
    """DINOv3: no norm of the rows, normal with std 0.02 at first, and all of it has a gradient."""
    torch.manual_seed(0)
    projector = dino(weight_norm=False, plain=True)
    x = torch.randn(3, 6, dtype=torch.float64)
    with torch.no_grad():
        projector.prototypes.weight.mul_(7)
    embedding = projector.mlp(x)
    want = (embedding / embedding.norm(dim=1, keepdim=True)) @ projector.prototypes.weight.T
    torch.testing.assert_close(projector(x), want)
    projector.prototypes.normalize_()
    torch.testing.assert_close(projector(x), want)
    projector(x).pow(2).sum().backward()
    along = (projector.prototypes.weight.grad * projector.prototypes.weight).sum(1)
    assert along.abs().min() > 0  # of a normalised one it would be 0
    many = PrototypeProjector((4, 64), prototypes=2000, plain=True).prototypes.weight
    assert many.std().item() == pytest.approx(0.02, rel=0.02)
    with pytest.raises(ValueError, match='plain=True are prototypes without weight_norm'):
        dino(plain=True)
