"""CAPI's predictor, alone and in a pretrainer."""

import pytest
import torch

from densecl.registry import MODELS
from densecl.structures import TokenMask
from tests.models.heads.units.test_masked_cells import build, masked_views
from tests.oracles import rotary as naive

PREDICTOR = dict(
    type='CrossAttentionPredictor',
    in_channels=12,
    clusters=7,
    embed_dim=16,
    depth=2,
    num_heads=2,
    registers=4,
)
ENCODER = dict(
    type='TimmViT', arch='vit_large_patch14_capi', img_size=24, patch_size=8, embed_dim=16, depth=2,
    num_heads=2, num_reg_tokens=4, init='capi', hidden='dropped',
)  # fmt: skip
HEAD = dict(
    target='features',
    units=dict(type='AskedCells', level=-2),
    projector=dict(PREDICTOR, in_channels=16),
    objective=dict(type='OnlineClusters', dim=16, clusters=7),
    pairs=((0, 0),),
)


def levels(batch=2):
    generator = torch.Generator().manual_seed(0)
    shapes = ((batch, 12, 3, 3), (batch, 12, 1, 4))
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def mask_of(asked=None):
    hidden = torch.zeros(2, 3, 3, dtype=torch.bool)
    hidden[0, 0, :2] = hidden[1, 2, 1:] = True
    return TokenMask(hidden, (2, 2), None if asked is None else torch.tensor(asked))


@pytest.fixture
def predictor():
    torch.manual_seed(0)
    made = MODELS.build(dict(PREDICTOR, type='densecl.CrossAttentionPredictor')).double()
    for block in made.blocks:
        for layer in (block.attn.q_proj, block.attn.k_proj):
            torch.nn.init.normal_(layer.weight, std=0.5)
        for norm in (block.norm1, block.norm2):
            torch.nn.init.normal_(norm.weight, 1.0, 0.3)
    return made


@pytest.mark.parametrize('asked', [None, [[1], [7]]])
def test_the_formula(predictor, asked):
    """Each query by hand: the learned token, turned by its place, against registers and visible patches."""
    mask, (patches, registers) = mask_of(asked), levels()
    found = predictor([patches, registers], mask)
    places = asked or [[0, 1], [7, 8]]
    assert found.shape == (2, len(places[0]), 7)
    for image in range(2):
        shown = (~mask.hidden[image]).flatten().nonzero().flatten().tolist()
        seen = [(i // 3 / 2, i % 3 / 2) for i in shown]
        context = torch.cat([registers[image].flatten(1).T, patches[image].flatten(1).T[shown]])
        asked_at = [(i // 3 / 2, i % 3 / 2) for i in places[image]]
        x = predictor.mask_token.expand(len(asked_at), -1)
        for block in predictor.blocks:
            q = naive.rms(x, block.norm1.weight) @ block.attn.q_proj.weight.T
            k, v = (context @ layer.weight.T for layer in (block.attn.k_proj, block.attn.v_proj))
            heard = naive.attended(q, k, v, asked_at, naive.registers_of(4, seen) + seen, 2)
            x = x + heard @ block.attn.proj.weight.T
            inner = naive.gelu(naive.rms(x, block.norm2.weight) @ block.mlp[0].weight.T)
            x = x + inner @ block.mlp[2].weight.T
        x = naive.rms(x)
        directions = predictor.clusters.weight_v
        want = (x / x.norm(dim=1, keepdim=True)) @ (directions / directions.norm(dim=1, keepdim=True)).T
        torch.testing.assert_close(found[image], want, rtol=0, atol=3e-5)


def test_what_is_hidden_does_not_matter_and_what_is_visible_does(predictor):
    found, given = predictor(levels(), mask_of()), levels()
    given[0][0, :, 0, 0] = 9.0  # hidden
    torch.testing.assert_close(predictor(given, mask_of()), found, rtol=0, atol=0)
    given[0][0, :, 2, 2] = 9.0  # visible
    assert (predictor(given, mask_of())[0] - found[0]).abs().max() > 1e-3
    torch.testing.assert_close(predictor(given, mask_of())[1], found[1], rtol=0, atol=0)


def test_the_numbers_of_capi():
    """302.66 M in the encoder, 453.68 M with the predictor but for its clusters (spec of CAPI's ViT-L/14)."""
    with torch.device('meta'):
        encoder = MODELS.build(dict(type='densecl.TimmViT', arch='vit_large_patch14_capi'))
        predictor = MODELS.build(
            dict(type='densecl.CrossAttentionPredictor', in_channels=1024, clusters=16384)
        )
    counts = [sum(p.numel() for p in part.parameters()) for part in (encoder, predictor)]
    counts[1] -= sum(p.numel() for p in predictor.clusters.parameters())
    assert f'{counts[0] / 1e6:.2f}' == '302.66' and f'{sum(counts) / 1e6:.2f}' == '453.68'
    assert [n for n, _ in predictor.named_parameters() if n.endswith('bias')] == []


def test_initial_values(predictor):
    made = MODELS.build(dict(PREDICTOR, type='densecl.CrossAttentionPredictor', embed_dim=64, clusters=500))
    weight = made.blocks[0].mlp[0].weight
    assert weight.abs().max().item() == pytest.approx((6 / 320) ** 0.5, rel=0.02)
    assert made.clusters.weight_v.std().item() == pytest.approx(0.02, rel=0.05)
    assert made.mask_token.std().item() == pytest.approx(0.02, rel=0.3)


@pytest.mark.parametrize('asked', [False, True])
def test_capi_takes_a_step(asked):
    model, views = (
        build(dict(clusters=HEAD), 'MomentumPretrainer', backbone=ENCODER),
        masked_views(0, 1, 4, 5),
    )
    if asked:
        views.asked = [torch.tensor([[1, 5], [3, 8], [0, 4]]), None]
    keys = model.target.backbone(views.images[0])[0].flatten(2).transpose(1, 2)
    seen = []
    score = model.heads['clusters'].objective.score
    model.heads['clusters'].objective.score = lambda c: seen.append(c) or score(c)
    loss = model(views, mode='loss')['loss_clusters']
    torch.testing.assert_close(seen[0].key.vectors, keys)  # the whole image, not projected
    want = views.asked[0] if asked else views.mask(0).hidden_places()
    assert torch.equal(seen[0].match.index, want) and seen[0].match.found().all()
    answers = seen[0].match.sum_of(keys)
    torch.testing.assert_close(answers[1, 0], keys[1, want[1, 0]])
    loss.backward()
    trained = [p for n, p in model.named_parameters() if p.requires_grad]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained)


def test_accumulated_and_joined_views_keep_what_they_are_asked():
    model = build(dict(clusters=dict(HEAD, pairs=((0, 0), (1, 1)))), 'MomentumPretrainer', backbone=ENCODER)
    views = masked_views(0, 1, 4, 5)
    views.masks[1], views.hidden_counts[1] = views.masks[0].flip(1), (4, 4)
    views.asked = [torch.tensor([[1], [3], [0]]), torch.tensor([[2], [5], [8]])]
    alone = model(views, mode='loss')['loss_clusters']
    model.join_views = True
    torch.testing.assert_close(model(views, mode='loss')['loss_clusters'], alone)


def test_what_is_refused(predictor):
    with pytest.raises(ValueError, match='registers=4, but the last level of the backbone has 1 tokens'):
        predictor([levels()[0], levels()[1][..., :1]], mask_of())
    with pytest.raises(ValueError, match="clusters: target='features' are those of another branch"):
        build(dict(clusters=HEAD), backbone=ENCODER)
    for field in ('projector', 'target'):
        with pytest.raises(ValueError, match=f'units=AskedCells needs a {field} of the head'):
            build(dict(clusters={k: v for k, v in HEAD.items() if k != field}), backbone=ENCODER)
