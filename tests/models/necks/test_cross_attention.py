"""CAPI's predictor, alone and in a pretrainer."""

import pytest
import torch

from densecl.registry import MODELS
from densecl.structures import TokenMask
from tests.models.heads.units.test_masked_cells import build, masked_views

PREDICTOR = dict(
    type='CrossAttentionPredictor', in_channels=12, clusters=7, grid=3, embed_dim=8, depth=2, num_heads=2
)
HEAD = dict(
    target='features',
    units=dict(type='DecodedCells', level=-2),
    projector=PREDICTOR,
    objective=dict(type='OnlineClusters', dim=12, clusters=7),
    pairs=((0, 0),),
)


def levels(batch=2):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch, 12, n, n, generator=generator, dtype=torch.float64) for n in (3, 1)]


def test_each_hidden_place_asks_for_itself_what_is_visible():
    torch.manual_seed(0)
    predictor = MODELS.build(dict(PREDICTOR, type='densecl.CrossAttentionPredictor')).double()
    hidden = torch.zeros(2, 3, 3, dtype=torch.bool)
    hidden[0, 0, :2] = hidden[1, 2, 1:] = True
    mask = TokenMask(hidden, (2, 2))
    found, given = predictor(levels(), mask), levels()
    assert found.shape == (2, 7, 3, 3)
    assert torch.equal(found.abs().sum(1) > 0, hidden)
    given[0][0, :, 0, 0] = 9.0  # hidden: it does not matter
    torch.testing.assert_close(predictor(given, mask), found, rtol=0, atol=0)
    given[0][0, :, 2, 2] = 9.0  # visible: it does
    assert (predictor(given, mask)[0] - found[0]).abs().max() > 1e-3
    torch.testing.assert_close(predictor(given, mask)[1], found[1], rtol=0, atol=0)
    with torch.no_grad():  # no query hears another: another position of one leaves the other
        predictor.pos_embed[0, 1] += torch.randn(8)
    again = predictor(levels(), mask)
    torch.testing.assert_close(again[0, :, 0, 0], found[0, :, 0, 0])
    assert (again[0, :, 0, 1] - found[0, :, 0, 1]).abs().max() > 1e-3


def test_capi_takes_a_step():
    model, views = build(dict(clusters=HEAD), 'MomentumPretrainer'), masked_views(0, 1, 4, 5)
    keys = model.target.backbone(views.images[0])[0].flatten(2).transpose(1, 2)
    seen = []
    score = model.heads['clusters'].objective.score
    model.heads['clusters'].objective.score = lambda c: seen.append(c) or score(c)
    loss = model(views, mode='loss')['loss_clusters']
    torch.testing.assert_close(seen[0].key.vectors, keys)  # the whole image, not projected
    assert torch.equal(seen[0].match.found(), views.masks[0].flatten(1))
    loss.backward()
    trained = [p for n, p in model.named_parameters() if p.requires_grad]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained)


def test_features_of_a_target_branch_need_one():
    with pytest.raises(ValueError, match="clusters: target='features' are those of another branch"):
        build(dict(clusters=HEAD))
