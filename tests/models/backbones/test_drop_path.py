"""Stochastic depth of exactly so many images."""

import pytest
import torch

from densecl.models.backbones.drop_path import SubsetDropPath
from densecl.registry import MODELS


@pytest.mark.parametrize('batch, drop_prob, kept', [(10, 0.3, 7), (7, 0.4, 4), (2, 0.9, 1), (1, 0.5, 1)])
def test_exactly_so_many_images_keep_the_branch(batch, drop_prob, kept):
    layer, x = SubsetDropPath(drop_prob).train(), torch.ones(batch, 3, 2)
    for _ in range(20):
        rows = layer(x).flatten(1)
        assert set(rows.unique().tolist()) <= {0.0, torch.tensor(batch / kept).item()}
        assert (rows[:, 0] > 0).sum() == kept and torch.equal(rows, rows[:, :1].expand(-1, 6))


def test_every_image_is_left_out_as_often():
    torch.manual_seed(0)
    layer, x = SubsetDropPath(0.25).train(), torch.ones(8, 1)
    mean = torch.stack([layer(x) for _ in range(4000)]).mean(0)
    torch.testing.assert_close(mean, torch.ones(8, 1), atol=0.04, rtol=0)  # four standard errors


def test_nothing_is_dropped_in_eval_mode_and_at_0():
    x = torch.randn(4, 3)
    assert SubsetDropPath(0.5).eval()(x) is x
    assert SubsetDropPath(0.0).train()(x) is x
    with pytest.raises(ValueError, match=r'drop_prob must be in \[0, 1\), got 1'):
        SubsetDropPath(1)


@pytest.mark.parametrize('rate, name', [(0.3, 'SubsetDropPath'), (0.1, 'DropPath')])
def test_a_vit_has_it_in_every_block_and_the_target_not(rate, name):
    vit = dict(type='TimmViT', img_size=32, patch_size=8, embed_dim=24, depth=3, num_heads=2)
    head = dict(projector=dict(type='MLP', channels=(24, 8)), objective='Cosine')
    model = MODELS.build(
        dict(
            type='densecl.MomentumPretrainer',
            backbone=dict(vit, drop_path=rate, drop_path_law='subset'),
            heads=dict(image=head),
        )
    ).train()
    for part, want in ((model, rate), (model.target, 0.0)):
        layers = [layer for block in part.backbone.blocks for layer in (block.drop_path1, block.drop_path2)]
        assert [type(layer).__name__ for layer in layers] == [name] * 6
        assert {layer.drop_prob for layer in layers} == {want} and len(set(map(id, layers))) == 6
