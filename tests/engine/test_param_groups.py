"""Rules make few groups, and leave nothing and nobody out."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from torch import nn

from densecl.engine import BF16OptimWrapper, ParamGroupsConstructor


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.predictor = nn.Linear(4, 4)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)


def build(rules, optimizer=None, model=None, **wrapper):
    cfg = dict(
        optimizer=optimizer or dict(type='SGD', lr=0.5, momentum=0.9, weight_decay=1e-2),
        constructor='ParamGroupsConstructor',
        paramwise_cfg=dict(rules=rules),
        **wrapper,
    )
    with DefaultScope.overwrite_default_scope('densecl'):
        return build_optim_wrapper(model or Net(), cfg)


def shapes(group):
    return [tuple(p.shape) for p in group['params']]


def test_barlow_twins():
    wrapper = build(
        [dict(match='1d', lr_mult=0.024, decay_mult=0, adapt=False)],
        dict(type='LARS', lr=1.6, weight_decay=1e-6),
    )
    weights, rest = wrapper.optimizer.param_groups
    assert shapes(weights) == [(4, 3, 3, 3), (4, 4)]
    assert shapes(rest) == [(4,), (4,), (4,), (4,)]
    assert (weights['lr'], weights['weight_decay'], weights['adapt']) == (1.6, 1e-6, True)
    assert rest['lr'] == pytest.approx(0.0048 * 2048 / 256)
    assert (rest['weight_decay'], rest['adapt']) == (0, False)
    assert rest['exclude'] == '1d'


def test_dino():
    wrapper = build([dict(match='1d', decay_mult=0)], dict(type='AdamW', lr=1e-3, weight_decay=0.04))
    decayed, rest = wrapper.optimizer.param_groups
    assert decayed['weight_decay'] == 0.04 and rest['weight_decay'] == 0
    assert decayed['lr'] == rest['lr'] == 1e-3


def test_simsiam():
    wrapper = build([dict(match='predictor', lr_fixed=True)])
    encoder, predictor = wrapper.optimizer.param_groups
    assert shapes(predictor) == [(4, 4), (4,)]
    assert predictor['lr_fixed'] and 'lr_fixed' not in encoder


def test_later_rules_win_and_equal_options_share_a_group():
    wrapper = build(
        [
            dict(match='1d', decay_mult=0, lr_mult=2),
            dict(match=r'^predictor\.', lr_mult=4),
            dict(match=r'backbone\.1\.bias', lr_mult=4),
        ]
    )
    groups = {(g['lr'], g['weight_decay']): shapes(g) for g in wrapper.optimizer.param_groups}
    assert groups == {
        (0.5, 1e-2): [(4, 3, 3, 3)],
        (1.0, 0): [(4,), (4,)],
        (2.0, 0): [(4,), (4,)],
        (2.0, 1e-2): [(4, 4)],
    }


def test_without_rules_one_group_of_the_trainable_parameters():
    (group,) = build([]).optimizer.param_groups
    assert len(group['params']) == 6


def test_shared_parameters_appear_once():
    model = Net()
    model.again = model.predictor
    assert sum(len(g['params']) for g in build([], model=model).optimizer.param_groups) == 6


def test_inside_a_model_wrapper_and_with_other_optimizer_wrappers():
    model = nn.DataParallel(Net())
    wrapper = build([dict(match='^predictor', lr_mult=2)], model=model, type='BF16OptimWrapper')
    assert isinstance(wrapper, BF16OptimWrapper)
    assert [g['lr'] for g in wrapper.optimizer.param_groups] == [0.5, 1.0]


@pytest.mark.parametrize('wrapper', ['OptimWrapper', 'BF16OptimWrapper'])
def test_a_step_moves_all_groups(wrapper):
    model = Net()
    rules = [dict(match='1d', lr_mult=0.1)]
    wrapper = build(rules, dict(type='LARS', lr=1.0), model, type=wrapper)
    before = {name: p.clone() for name, p in model.named_parameters()}
    with wrapper.optim_context(model):
        features = model.backbone(torch.randn(2, 3, 8, 8)).mean((2, 3))
        loss = model.frozen(model.predictor(features)).square().sum()
    wrapper.update_params(loss)
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    # In front of a norm a convolution's bias has a gradient of rounding size only.
    assert moved | {'backbone.0.bias'} == {n for n in before if not n.startswith('frozen')}


@pytest.mark.parametrize(
    ('rules', 'message'),
    [
        ([dict(match='prototypes', lr_mult=0)], "'prototypes' matches none of the 6 trainable"),
        ([dict(match='frozen', lr_mult=0)], "'frozen' matches none"),
        ([dict(lr_mult=0)], 'needs match'),
        ([dict(match='1d', adapt=False)], "SGD has no .'adapt'."),
        ([dict(match='1d', lrmult=2)], "'lrmult'"),
    ],
)
def test_errors_name_the_rule(rules, message):
    with pytest.raises(ValueError, match=message):
        build(rules)


def test_factors_need_a_value():
    with pytest.raises(ValueError, match='decay_mult needs weight_decay'):
        build([dict(match='1d', decay_mult=0)], dict(type='SGD', lr=0.1))
    with pytest.raises(ValueError, match='custom_keys'):
        ParamGroupsConstructor(dict(optimizer=dict(type='SGD')), dict(custom_keys={}))


def test_deeper_layers_of_a_backbone_have_higher_rates():
    class Staged(nn.Module):
        def __init__(self):
            super().__init__()
            names = ('stem', 'layer1', 'layer2')
            self.backbone = nn.ModuleDict({name: nn.Linear(2, 2) for name in names})
            self.head = nn.Linear(2, 2)

    rule = dict(match=r'^backbone\.', lr_mult=0.1, layer_decay=0.5, lr_ramp=(3, 2), decay_mult=0)
    wrapper = build([rule], model=Staged())
    groups = [(g['lr'], g.get('lr_ramp'), g['weight_decay']) for g in wrapper.optimizer.param_groups]
    want = [(0.5, None, 1e-2), (0.0125, (3, 2), 0), (0.025, (3, 2), 0), (0.05, (3, 2), 0)]
    assert [(pytest.approx(lr), ramp, decay) for lr, ramp, decay in want] == groups
