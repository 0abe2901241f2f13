"""Rates and decay of transformers' recipes, parameter by parameter, and the sums of DINOv2's pairs."""

import math
from functools import cache
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from densecl.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS
from densecl.schedule import Clock, Schedule

CONFIGS = Path(__file__).parents[2] / 'configs'
OFFICIAL = {
    'dinov2': 'dinov2/dinov2_vit-large_32xb64-mcrop-coslr-200e_in1k.py',
    'dinov3': 'dinov3/dinov3_vit-large_32xb64-mcrop-coslr-200e_in1k.py',
    'beit': 'beit/beit_vit-base_16xb128-coslr-800e_in1k.py',
    'beitv2': 'beit/beitv2_vit-base_16xb128-coslr-300e_in1k.py',
    'vqkd': 'beit/vqkd_vit-base_8xb64-coslr-100e_in1k.py',
    'capi': 'capi/capi_vit-large_32xb512-coslr-6400e_in1k.py',
    'neco': 'neco/neco_vit-small_1xb64-mcrop-coslr-25e_coco.py',
    'leopart': 'leopart/leopart_vit-small_2xb32-mcrop-coslr-50e_coco.py',
    'cribo': 'cribo/cribo_vit-small_8xb32-coslr-300e_coco.py',
    'simmim': 'simmim/simmim_vit-base_16xb128-steplr-800e_in1k.py',
}


@cache
def groups(method):
    """Name -> rate and decay, as shares of the optimiser's own."""
    cfg = Config.fromfile(CONFIGS / OFFICIAL[method])
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
    'method, name, rate, decay',
    [  # 0.9^(25 - id): 0 the stem, i + 1 block i, 25 what stands behind
        ('dinov2', 'backbone.patch_embed.proj.weight', 0.2 * 0.9**25, 1),
        ('dinov2', 'backbone.patch_embed.proj.bias', 0.2 * 0.9**25, 0),
        ('dinov2', 'backbone.cls_token', 0.9**25, 1),
        ('dinov2', 'backbone.pos_embed', 0.9**25, 1),
        ('dinov2', 'backbone.mask_token', 0.9**25, 1),
        ('dinov2', 'backbone.blocks.0.attn.qkv.weight', 0.9**24, 1),
        ('dinov2', 'backbone.blocks.23.mlp.fc1.weight', 0.9, 1),
        ('dinov2', 'backbone.blocks.23.ls1.gamma', 0.9, 0),
        ('dinov2', 'backbone.norm.weight', 1, 0),
        ('dinov2', 'heads.tokens.projector.prototypes.weight_g', 1, 1),
        ('dinov2', 'heads.tokens.projector.mlp.0.bias', 1, 0),
        ('dinov3', 'backbone.patch_embed.proj.weight', 0.2 * 0.9**25, 1),
        ('dinov3', 'backbone.cls_token', 0.9**25, 1),
        ('dinov3', 'backbone.blocks.0.attn.qkv.weight', 0.9**24, 1),
        ('dinov3', 'backbone.blocks.0.attn.q_bias', 0.9**24, 0),
        ('dinov3', 'backbone.blocks.23.gamma_1', 0.9, 0),
        ('dinov3', 'heads.patches.projector.prototypes.weight', 1, 1),
        ('neco', 'heads.order.projector.0.weight', 1, 1),
        ('neco', 'heads.order.projector.0.bias', 1, 0),
        ('neco', 'backbone.blocks.3.mlp.fc1.weight', 0.1, 1),
        ('neco', 'backbone.norm.weight', 0.1, 0),
        ('leopart', 'heads.clusters.projector.prototypes.weight', 1, 1),
        ('leopart', 'backbone.blocks.3.attn.qkv.weight', 0.1, 1),
        ('cribo', 'heads.objects.projector.prototypes.weight_g', 1, 1),
        ('cribo', 'heads.objects.projector.mlp.0.bias', 1, 0),
        ('cribo', 'backbone.blocks.3.mlp.fc1.weight', 1, 1),
        ('capi', 'backbone.patch_embed.proj.weight', 0.2, 1),
        ('capi', 'backbone.patch_embed.proj.bias', 0.2, 0),
        ('capi', 'backbone.reg_token', 1, 1),
        ('capi', 'backbone.blocks.3.norm1.weight', 1, 0.1),
        ('capi', 'backbone.blocks.3.attn.qkv.weight', 1, 1),
        ('capi', 'heads.clusters.objective.clusters.weight', 0.5, 0.1),
        ('capi', 'heads.clusters.objective.clusters.bias', 0.5, 0.1),
        ('capi', 'heads.clusters.projector.clusters.weight_g', 1, 1),
        ('capi', 'heads.clusters.projector.blocks.0.norm2.weight', 1, 0.1),
        ('capi', 'heads.clusters.projector.blocks.0.mlp.0.weight', 1, 1),
        ('beit', 'backbone.cls_token', 1, 0),
        ('beit', 'backbone.mask_token', 1, 1),
        ('beit', 'backbone.blocks.0.mlp.fc1.weight', 1, 1),
        ('beitv2', 'backbone.cls_token', 1, 0),
        ('beitv2', 'backbone.cls_pt_layers.0.attn.proj.weight', 1, 1),
        ('beitv2', 'backbone.cls_pt_layers.1.gamma_1', 1, 0),
        ('vqkd', 'backbone.pos_embed', 1, 0),
        ('vqkd', 'heads.features.projector.decoder.cls_token', 1, 0),
        ('vqkd', 'heads.features.projector.quantizer.embed.2.weight', 1, 1),
        ('vqkd', 'heads.features.projector.output.0.bias', 1, 0),
        ('simmim', 'backbone.cls_token', 1, 0),
        ('simmim', 'backbone.mask_token', 1, 1),
        ('simmim', 'backbone.blocks.0.attn.qkv.weight', 1, 1),
        ('simmim', 'backbone.blocks.0.norm1.weight', 1, 0),
    ],
)
def test_rates_and_decay(method, name, rate, decay):
    found = groups(method)[name]
    assert found[0] == pytest.approx(rate) and found[1] == pytest.approx(decay)


def falls(share):
    """Of a half cosine from 1 to 0."""
    return (1 + math.cos(math.pi * share)) / 2


@pytest.mark.parametrize(
    'method, steps, want',
    [
        ('dinov2', 125_000, {0: 0, 6_250: 0.5, 12_500: 1, 125_000: 1e-6 / 5.66e-3}),
        ('beitv2', 300_000, {0: 0, 5: 0.5, 10: 1, 300_000: 1e-5 / 1.5e-3}),
        ('vqkd', 100_000, {0: 0, 5: 0.5, 10: 1, 100_000: 1e-5 / 2e-4}),
        (
            'capi',
            500_000,
            {0: 0, 49_999: 1, 50_000: 1, 275_000: falls(0.4), 499_999: falls(0.8 - 0.8 / 450_000)},
        ),
    ],
)
def test_rates_of_the_whole_run(method, steps, want):
    factor = Config.fromfile(CONFIGS / OFFICIAL[method]).param_scheduler[0].factor
    schedule = Schedule.of(dict(factor), 'factor')
    for step, value in want.items():
        assert schedule(Clock(step=step, total=steps, epoch=1)) == pytest.approx(value, abs=1e-9)


def test_the_momentum_of_capi():
    """1 in front of the warm-up, whose last step has 0.999, then 0.8 of a half cosine towards 1."""
    schedule = Schedule.of(dict(Config.fromfile(CONFIGS / OFFICIAL['capi']).model.momentum), 'momentum')
    for step, value in {0: 1, 49_999: 0.999, 50_000: 0.999, 275_000: 1 - 0.001 * falls(0.4)}.items():
        assert schedule(Clock(step=step, total=500_000, epoch=1)) == pytest.approx(value, abs=1e-12)


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


@pytest.mark.parametrize(
    'path, steps',
    [
        ('ibot/ibot_vit-small_16xb64-mcrop-coslr-800e_in1k', 1251),
        ('dinov2/dinov2_vit-large_32xb64-mcrop-coslr-200e_in1k', 1250),
        ('dinov2/dinov2-gram_vit-slim_1xb64-mcrop-coslr-2e_photos', 0),
    ],
)
def test_prototypes_rest_at_first(path, steps):
    """``freeze_last_layer`` of the official codes; a run that goes on has trained them."""
    cfg = Config.fromfile(CONFIGS / f'{path}.py')
    with torch.device('meta'):
        model = MODELS.build(dict(cfg.model, _scope_='densecl'))
    model.clock.epoch, head = 1251, model.heads['tokens']
    for model.clock.step in {max(steps - 1, 0), steps}:
        resting = set(head.frozen_parameters())
        assert resting == (set(head.projector.prototypes.parameters()) if model.clock.step < steps else set())


def test_the_last_rate_of_ibot():
    cfg = Config.fromfile(CONFIGS / 'ibot/ibot_vit-small_16xb64-mcrop-coslr-800e_in1k.py')
    assert cfg.optim_wrapper.optimizer.lr * cfg.param_scheduler[0].factor.end == pytest.approx(1e-6)
