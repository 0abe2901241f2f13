"""SparK's and FCMAE's configs: groups, rates, and how many cells are seen."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS, DefaultScope

from densecl.registry import MODELS, OPTIMIZERS, TRANSFORMS

CONFIGS = Path(__file__).parents[2] / 'configs'
STEPS = 2  # an epoch


@pytest.fixture(scope='module')
def official():
    """The config of SparK, its optimizer wrapper on the whole model, names of parameters."""
    cfg = Config.fromfile(CONFIGS / 'spark/spark_resnet50_32xb128-coslr-1600e_in1k.py')
    with DefaultScope.overwrite_default_scope('densecl'), torch.device('meta'):
        model = MODELS.build(cfg.model)
        wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    return cfg, wrapper, {parameter: name for name, parameter in model.named_parameters()}


def test_what_is_decayed(official):
    _, wrapper, names = official
    decayed, others = ([names[p] for p in group['params']] for group in wrapper.optimizer.param_groups)
    assert [group['weight_decay'] for group in wrapper.optimizer.param_groups] == [0.04, 0]
    assert all(name.endswith('.weight') for name in decayed) and len(decayed) == 53 + 4 + 5 * 3 + 1
    assert sum('mask_token' in name for name in others) == 4
    assert len(decayed) + len(others) == len(names)
    assert type(wrapper.optimizer).__name__ == 'Lamb' and wrapper.optimizer.defaults['max_grad_norm'] == 5


def test_rates_of_the_whole_run(official):
    cfg, wrapper, _ = official
    rates, decays, total = [], [], 1600 * STEPS
    with DefaultScope.overwrite_default_scope('densecl'):
        schedulers = [
            PARAM_SCHEDULERS.build(
                dict(scheduler, end=1600), default_args=dict(optimizer=wrapper, epoch_length=STEPS)
            )
            for scheduler in cfg.param_scheduler
        ]
    wrapper.optimizer.step = lambda *args: None  # meta tensors have no values
    for _ in range(total):
        rates.append([group['lr'] for group in wrapper.optimizer.param_groups])
        decays.append([group['weight_decay'] for group in wrapper.optimizer.param_groups])
        wrapper.step()
        for scheduler in schedulers:
            scheduler.step()
    peak, warm = 2e-4 * 4096 / 256, 40 * STEPS
    rise = peak * (0.005 + 0.995 * np.arange(warm) / warm)
    fall = 0.001 * peak + 0.999 * peak * (1 + np.cos(np.pi * np.arange(total - warm) / (total - warm))) / 2
    np.testing.assert_allclose(rates, np.stack([np.concatenate([rise, fall])] * 2, 1), rtol=1e-9)
    decay = [0.2 - 0.16 * (1 + math.cos(math.pi * s / total)) / 2 for s in range(total)]
    np.testing.assert_allclose(decays, np.stack([decay, np.zeros(total)], 1), rtol=1e-9)


@pytest.mark.parametrize('path, cells, seen', [
    ('spark/spark_resnet50_32xb128-coslr-1600e_in1k.py', 49, 20),
    ('spark/spark_resnet18_1xb64-coslr-16e_photos.py', 49, 20),
    ('fcmae/fcmae_convnextv2-tiny_64xb64-coslr-800e_in1k.py', 49, 19),
    ('fcmae/fcmae_convnextv2-atto_1xb64-coslr-16e_photos.py', 16, 6),
])  # fmt: skip
def test_cells_that_are_seen(path, cells, seen):
    (view,) = Config.fromfile(CONFIGS / path).train_dataloader.dataset.pipeline[0].views
    mask = TRANSFORMS.build(dict(view.mask))
    drawn = mask.draw(mask.grid((view.size, view.size)), np.random.default_rng(0))
    assert drawn.size == cells
    assert (~drawn).sum() == seen


def test_a_step_of_lamb():
    """By hand: the gradient's norm is cut to 5, and a decayed layer moves by its own norm."""
    generator = torch.Generator().manual_seed(0)
    weight, bias = (torch.randn(*s, generator=generator, dtype=torch.float64) for s in ((4, 3), (4,)))
    gradients = [torch.randn(x.shape, generator=generator, dtype=torch.float64) * 9 for x in (weight, bias)]
    cut = max(1, math.sqrt(sum(g.square().sum().item() for g in gradients)) / 5)
    assert cut > 2
    params = [torch.nn.Parameter(x.clone()) for x in (weight, bias)]
    groups = [dict(params=params[:1], weight_decay=0.1), dict(params=params[1:], weight_decay=0)]
    optimizer = OPTIMIZERS.build(
        dict(type='densecl.LAMB', params=groups, lr=0.1, betas=(0.9, 0.95), eps=1e-6, max_grad_norm=5.0)
    )
    for p, g in zip(params, gradients, strict=True):
        p.grad = g.clone()
    optimizer.step()
    for p, x, g, decay in zip(params, (weight, bias), gradients, (0.1, 0), strict=True):
        # moments over their corrections are the gradient and its square in the first step
        step = (g / cut) / ((g / cut).abs() + 1e-6) + decay * x
        trust = x.norm() / step.norm() if decay else 1
        torch.testing.assert_close(p.detach(), x - 0.1 * trust * step, rtol=1e-6, atol=1e-8)
