"""Schedules of the official recipes: groups and rates of a small network, at the steps that tell."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS, DefaultScope
from torch import nn

from densecl.engine import LARS

FOLDER = Path(__file__).parents[2] / 'configs/_base_/schedules'
STEPS = 4  # an epoch


class Net(nn.Module):
    """4 weights and 5 vectors; the predictor has one of each."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 4, 3, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Conv2d(4, 8, 3, bias=False),
            nn.BatchNorm2d(8),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.projector = nn.Linear(8, 4, bias=False)
        self.predictor = nn.Linear(4, 4)

    def forward(self, x):
        return self.predictor(self.projector(self.backbone(x)))


def built(name, epochs=None):
    """Model, optimizer wrapper and schedulers, made as the Runner makes them."""
    cfg = Config.fromfile(FOLDER / name)
    cfg.train_cfg.max_epochs = epochs or cfg.train_cfg.max_epochs
    torch.manual_seed(0)
    model = Net()
    with DefaultScope.overwrite_default_scope('densecl'):
        wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
        schedulers = [
            PARAM_SCHEDULERS.build(
                dict(scheduler, end=cfg.train_cfg.max_epochs),
                default_args=dict(optimizer=wrapper, epoch_length=STEPS),
            )
            for scheduler in cfg.param_scheduler
        ]
    return cfg, model, wrapper, schedulers


def history(name, epochs=None):
    """``lr`` and ``weight_decay`` of each group at every step of the run: (steps, groups) each."""
    cfg, _, wrapper, schedulers = built(name, epochs)
    total = cfg.train_cfg.max_epochs * STEPS
    rates, decays = [], []
    for step in range(total):
        rates.append([group['lr'] for group in wrapper.optimizer.param_groups])
        decays.append([group['weight_decay'] for group in wrapper.optimizer.param_groups])
        wrapper.step()
        for scheduler in schedulers:
            if not scheduler.by_epoch or (step + 1) % STEPS == 0:
                scheduler.step()
    return np.array(rates), np.array(decays)


def half_cosine(start, end, steps):
    return end + (start - end) * (1 + np.cos(np.pi * np.arange(steps) / steps)) / 2


def per_step(lr, end, epochs, warm):
    rise = lr * np.arange(warm * STEPS) / (warm * STEPS)
    return np.concatenate([rise, half_cosine(lr, end, (epochs - warm) * STEPS)])


def reaching(start, lr, end, epochs, warm):
    rise = np.linspace(start, lr, warm * STEPS)
    return np.concatenate([rise, half_cosine(lr, end, (epochs - warm) * STEPS)])


def per_epoch(lr, end, epochs):
    return np.repeat(half_cosine(lr, end, epochs), STEPS)


def supcon():
    rise = 0.01 + 0.49 * np.arange(10 * STEPS) / (10 * STEPS)
    return np.concatenate([rise, half_cosine(0.5, 0.5 * 0.1**3, 990 * STEPS)])


def pixpro():
    rise = 0.04 + 3.96 * np.arange(5 * STEPS) / (5 * STEPS)
    return np.concatenate([rise, half_cosine(4.0, 1e-6, 95 * STEPS)])


def slotcon():
    rise = 0.02 + 1.98 * np.arange(5 * STEPS) / (5 * STEPS)
    return np.concatenate([rise, half_cosine(2.0, 1e-6, 195 * STEPS)])


def soco():
    rise = 0.08 + 7.92 * np.arange(10 * STEPS) / (10 * STEPS)
    return np.concatenate([rise, half_cosine(8.0, 1e-6, 90 * STEPS)])


def aligndet():
    rise = np.linspace(0.02 / 1000, 0.02, 12)  # of 500 steps in the recipe; tests end it with the epochs
    return np.concatenate([rise, np.full(20, 0.02), np.full(12, 0.002), np.full(4, 0.0002)])


BARLOW = per_step(1.6, 0.0016, 1000, 10)
#: Their rules name parameters of a transformer: test_transformer_schedules.py.
OF_TRANSFORMERS = (
    'adamw_coslr_25e_neco.py',
    'adamw_coslr_32e_clip.py',
    'adamw_coslr_100e_vqkd.py',
    'adamw_coslr_125k_dinov2.py',
    'adamw_coslr_500k_capi.py',
    'adamw_coslr_800e_beit.py',
    'adamw_steplr_800e_simmim.py',
)
#: Rates of each group, from the recipes' own numbers.
EXPECTED = {
    'lars_coslr_100e_simclr.py': [per_step(0.3 * 4096 / 256, 0, 100, 10)],
    'lars_coslr_100e_mocov3.py': [per_step(0.6 * 4096 / 256, 0, 100, 10)],
    'adamw_coslr_300e_mocov3-vit.py': [per_step(1.5e-4 * 4096 / 256, 0, 300, 40)],
    'lars_coslr_100e_byol.py': [per_step(0.45 * 4096 / 256, 0, 100, 10)],
    'sgd_coslr_100e_simsiam.py': [per_epoch(0.1, 0, 100), np.full(400, 0.05 * 512 / 256)],
    'larc_coslr_200e_swav.py': [reaching(0.3, 4.8, 0.0048, 200, 10)],
    'adamw_coslr_100e_dino.py': [reaching(0, 0.0005 * 512 / 256, 1e-6, 100, 10)] * 2,
    'adamw_coslr_100e_distillation.py': [per_step(5e-4, 0, 100, 10)],
    'adamw_coslr_45e_rasa.py': [np.tile(per_step(2e-4, 0, 5, 0), 9)],
    'adamw_coslr_5e_dip.py': [per_step(1.5e-7 * 384 / 256, 0, 5, 0)] * 2,
    'adamw_coslr_800e_mae.py': [per_step(1.5e-4 * 4096 / 256, 0, 800, 40)] * 2,
    'lars_coslr_1000e_barlowtwins.py': [BARLOW, BARLOW * 0.0048 / 0.2],
    'lars_coslr_1000e_vicreg.py': [BARLOW],
    'lars_coslr_100e_pixpro.py': [pixpro()],
    'lars_coslr_200e_slotcon.py': [slotcon()],
    'lars_coslr_100e_soco.py': [soco()],
    'lars_coslr_100e_detcon.py': [per_step(0.2 * 4096 / 256, 0, 100, 1)],
    'lars_coslr_100e_directclr.py': [per_step(4.8, 0.0048, 100, 10)],
    'sgd_coslr_200e.py': [per_epoch(0.03, 0, 200)],
    'sgd_steplr_200e.py': [np.repeat(0.03 * np.array([1, 0.1, 0.01]), [480, 160, 160])],
    'sgd_steplr_105e_vissl.py': [np.repeat(0.1 ** np.arange(1, 6), np.array([30, 30, 30, 10, 5]) * STEPS)]
    * 2,
    'sgd_steplr_12e_aligndet.py': [aligndet()],
    'sgd_steplr_70e_context.py': [np.repeat(0.2 * np.array([1, 0.1, 0.01]), [120, 80, 80])],
    'sgd_coslr_800e_pirl.py': [per_epoch(0.12, 0.00012, 800)] * 2,
    'sgd_coslr_1000e_supcon.py': [supcon()],
}
DECAY = {
    'adamw_coslr_100e_distillation.py': 1e-6,
    'adamw_coslr_45e_rasa.py': 0,
    'adamw_coslr_5e_dip.py': 0.05,
    'adamw_coslr_800e_mae.py': 0.05,
    'lars_coslr_100e_pixpro.py': 1e-5,
    'lars_coslr_100e_soco.py': 1e-5,
    'lars_coslr_100e_detcon.py': 1.5e-6,
    'lars_coslr_200e_slotcon.py': 1e-5,
    'lars_coslr_100e_simclr.py': 1e-4,
    'adamw_coslr_300e_mocov3-vit.py': 0.1,
    'sgd_coslr_100e_simsiam.py': 1e-4,
    'sgd_coslr_200e.py': 1e-4,
    'sgd_steplr_200e.py': 1e-4,
    'sgd_steplr_105e_vissl.py': 1e-4,
    'sgd_steplr_12e_aligndet.py': 1e-4,
    'sgd_steplr_70e_context.py': 1e-4,
    'sgd_coslr_800e_pirl.py': 1e-4,
    'sgd_coslr_1000e_supcon.py': 1e-4,
}


def test_every_recipe_is_tested():
    pretraining = {p.name for p in FOLDER.glob('*.py')} - {'finetune_slim.py'}
    assert pretraining == set(EXPECTED) | set(OF_TRANSFORMERS)


@pytest.mark.parametrize('name', EXPECTED)
def test_rates_of_the_whole_run(name):
    rates, decays = history(name)
    np.testing.assert_allclose(rates, np.stack(EXPECTED[name], 1), rtol=1e-9, atol=1e-12)
    if 'dino' in name:
        cosine = [0.4 - 0.36 * (1 + math.cos(math.pi * s / 400)) / 2 for s in range(400)]
        np.testing.assert_allclose(decays, np.stack([cosine, np.zeros(400)], 1), atol=1e-12)
    else:
        first = np.full(len(rates), DECAY.get(name, 1e-6))
        np.testing.assert_allclose(decays[:, 0], first)


@pytest.mark.parametrize('epochs', [6, 12])
def test_rates_of_a_small_machine_follow_the_run(epochs):
    rates, _ = history('../small_machine.py', epochs)
    np.testing.assert_allclose(rates[:, 0], per_epoch(0.06, 0, epochs), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize('name', EXPECTED)
def test_groups_and_one_step(name):
    cfg, model, wrapper, _ = built(name)
    groups = wrapper.optimizer.param_groups
    sizes = [len(group['params']) for group in groups]
    if 'simsiam' in name:
        assert sizes == [7, 2]
        assert groups[1]['lr_fixed'] and groups[1]['weight_decay'] == 1e-4
    elif len(groups) == 2:
        assert sizes == [4, 5]
        assert groups[1]['weight_decay'] == 0
    else:
        assert sizes == [9]
    for group in groups:
        group['lr'] = 0.1  # the warm-up starts at 0
    before = [p.detach().clone() for p in model.parameters()]
    wrapper.update_params(model(torch.randn(4, 3, 12, 12)).square().mean())
    moved = [not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)]
    assert all(moved)
    assert cfg.auto_scale_lr.base_batch_size in (16, 128, 256, 384, 512, 1024, 1536, 2048, 4096)


@pytest.mark.parametrize(
    ('method', 'variant', 'exclude'),
    [
        ('simclr', 'classic', '1d'),
        ('mocov3', 'popular', '1d'),
        ('byol', 'popular', '1d'),
        ('swav', 'larc', None),
        ('barlowtwins', 'popular', '1d'),
        ('vicreg', 'popular', '1d'),
        ('directclr', 'popular', '1d'),
        ('pixpro', 'popular', '1d'),
        ('soco', 'popular', '1d'),
        ('detcon', 'popular', '1d'),
    ],
)
def test_which_lars(method, variant, exclude):
    (name,) = [n for n in EXPECTED if n.endswith(f'_{method}.py')]
    optimizer = built(name)[2].optimizer
    assert isinstance(optimizer, LARS)
    for group in optimizer.param_groups:
        assert (group['variant'], group['exclude']) == (variant, exclude)
        assert (group['trust'], group['momentum']) == (0.001, 0.9)
