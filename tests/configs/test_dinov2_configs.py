"""DINOv2's parameter groups and the sums of its pairs."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from densecl.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS

CONFIGS = Path(__file__).parents[2] / 'configs'
OFFICIAL = CONFIGS / 'dinov2/dinov2_vit-large_32xb64-mcrop-coslr-200e_in1k.py'


@pytest.fixture(scope='module')
def groups():
    """Name -> rate and decay of the official recipe's optimiser."""
    cfg = Config.fromfile(OFFICIAL)
    with torch.device('meta'):
        model = MODELS.build(dict(cfg.model, _scope_='densecl'))
    wrapper = dict(cfg.optim_wrapper)
    build = OPTIM_WRAPPER_CONSTRUCTORS.get(wrapper.pop('constructor'))
    found = build(wrapper, wrapper.pop('paramwise_cfg')).groups(model)
    names = {id(p): name for name, p in model.named_parameters()}
    lr, decay = wrapper['optimizer']['lr'], wrapper['optimizer']['weight_decay']
    return {
        names[id(p)]: (group.get('lr', lr) / lr, group.get('weight_decay', decay) / decay)
        for group in found
        for p in group['params']
    }


@pytest.mark.parametrize(
    'name, rate, decay',
    [  # 0.9^(25 - id): 0 the stem, i + 1 block i, 25 what stands behind
        ('backbone.patch_embed.proj.weight', 0.2 * 0.9**25, 1),
        ('backbone.patch_embed.proj.bias', 0.2 * 0.9**25, 0),
        ('backbone.cls_token', 0.9**25, 1),
        ('backbone.pos_embed', 0.9**25, 1),
        ('backbone.mask_token', 0.9**25, 1),
        ('backbone.blocks.0.attn.qkv.weight', 0.9**24, 1),
        ('backbone.blocks.23.mlp.fc1.weight', 0.9, 1),
        ('backbone.blocks.23.ls1.gamma', 0.9, 0),
        ('backbone.norm.weight', 1, 0),
        ('heads.tokens.projector.prototypes.weight_g', 1, 1),
        ('heads.tokens.projector.mlp.0.bias', 1, 0),
    ],
)
def test_rates_and_decay(groups, name, rate, decay):
    found = groups[name]
    assert found[0] == pytest.approx(rate) and found[1] == decay


@pytest.mark.parametrize('path', ['dinov2', 'ibot'])
def test_the_mean_of_all_pairs_of_an_image_and_of_its_patches(path):
    for file in (CONFIGS / path).glob('*.py'):
        pairs = Config.fromfile(file).model.heads.tokens.pairs
        for kind in ('image', 'patches'):
            weights = [pair.weight for pair in pairs if pair.query[0] == kind]
            assert sum(weights) == pytest.approx(1) and len(set(weights)) == 1, file
            assert all(
                (pair.query[1] == pair.key[1]) == (kind == 'patches')
                for pair in pairs
                if pair.query[0] == kind
            )
