"""CLIP's recipe: sizes of both towers, what decays, and the rate over the run."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope

from densecl.registry import MODELS
from densecl.schedule import Clock, Schedule

FOLDER = Path(__file__).parents[2] / 'configs/clip'
OFFICIAL = FOLDER / 'clip_vit-base_256xb128-coslr-32e_captions.py'


@pytest.fixture(scope='module')
def official():
    cfg = Config.fromfile(OFFICIAL)
    with DefaultScope.overwrite_default_scope('densecl'):
        return cfg, MODELS.build(cfg.model)


def millions(module):
    return sum(p.numel() for p in module.parameters()) / 1e6


def test_towers_have_the_sizes_of_the_paper(official):
    _, model = official
    head = model.heads['text']
    assert millions(head.target) == pytest.approx(63.4, abs=0.1)  # "a 63M-parameter 12-layer 512-wide"
    image = millions(model.backbone) + millions(head.projector)
    assert image == pytest.approx(86.2, abs=0.1)  # of ViT-B/16
    assert type(model.backbone.norm_pre).__name__ == 'LayerNorm'
    assert type(model.backbone.blocks[0].mlp.act).__name__.lower().startswith('quick')
    assert head.both_ways and [tuple(pair[:2]) for pair in head.pairs] == [(0, 0)]


def test_the_resnet_has_the_sizes_of_openai_s():
    cfg = Config.fromfile(FOLDER / 'clip_resnet50_256xb128-coslr-32e_captions.py')
    with DefaultScope.overwrite_default_scope('densecl'):
        model = MODELS.build(cfg.model)
    head = model.heads['text']
    image = millions(model.backbone) + millions(head.projector)
    assert image == pytest.approx(38.317, abs=0.001)
    assert image + millions(head.target) == pytest.approx(102.01, abs=0.01)
    assert head.target.tower.text_projection.shape == (512, 1024) and head.projector.heads == 32
    groups, free, decayed = parameter_groups(cfg, model)
    assert {(group['lr'], group['betas'], group['eps']) for group in groups} == {(5e-4, (0.9, 0.999), 1e-8)}
    assert 'heads.text.projector.positional_embedding' in decayed
    assert {'backbone.stem_conv1.bn.weight', 'heads.text.projector.q_proj.bias'} < free


def parameter_groups(cfg, model):
    """The groups, and the names of what does not decay and of what does."""
    with DefaultScope.overwrite_default_scope('densecl'):
        groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    names = {id(p): name for name, p in model.named_parameters()}
    free = {names[id(p)] for group in groups if group['weight_decay'] == 0 for p in group['params']}
    decay = cfg.optim_wrapper.optimizer.weight_decay
    decayed = {names[id(p)] for group in groups if group['weight_decay'] == decay for p in group['params']}
    assert free | decayed == set(names.values())
    return groups, free, decayed


def test_gains_biases_and_the_temperature_do_not_decay(official):
    cfg, model = official
    groups, free, decayed = parameter_groups(cfg, model)
    assert 'heads.text.objective.temperature.log_scale' in free
    assert 'backbone.blocks.0.norm1.weight' in free and 'backbone.blocks.0.attn.qkv.bias' in free
    assert 'heads.text.target.tower.text_projection' in decayed
    assert 'heads.text.target.tower.positional_embedding' in decayed
    assert cfg.optim_wrapper.optimizer.weight_decay == 0.2
    assert {(group['betas'], group['eps']) for group in groups} == {((0.9, 0.98), 1e-6)}


def test_the_rate_warms_up_in_2000_steps():
    cfg = Config.fromfile(OFFICIAL)
    factor = Schedule(**cfg.param_scheduler[0].factor)
    total = 32 * 12207  # of 400 million pairs
    rates = [cfg.optim_wrapper.optimizer.lr * factor(Clock(step, total)) for step in (0, 1000, 2000, total)]
    assert rates == pytest.approx([0, 2.5e-4, 5e-4, 0], abs=1e-9)


def test_siglip_scores_one_direction_without_decay_of_scale_and_bias():
    cfg = Config.fromfile(FOLDER / 'siglip_resnet18_1xb64-coslr-16e_captions.py')
    head = cfg.model.heads.text
    assert head.objective == dict(type='SigmoidContrast') and not head.both_ways
    with DefaultScope.overwrite_default_scope('densecl'):
        model = MODELS.build(cfg.model)
    _, free, decayed = parameter_groups(cfg, model)
    assert {f'heads.text.objective.{name}' for name in ('log_scale', 'bias')} <= free
    assert 'backbone.conv1.weight' in decayed


def test_a_locked_tower_is_not_trained():
    cfg = Config.fromfile(FOLDER / 'lit_efficientnet-lite0_1xb64-coslr-16e_captions.py')
    with DefaultScope.overwrite_default_scope('densecl'):
        model = MODELS.build(cfg.model)
    assert not any(p.requires_grad for p in model.backbone.parameters())
    assert all(p.requires_grad for p in model.heads.parameters())
