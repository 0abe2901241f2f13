"""SimMIM's recipes: the loss by pixels, what is hidden, what decays, the rates."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS, DefaultScope

from densecl.engine.launch import read_config
from densecl.registry import MODELS, TRANSFORMS
from tests.models.heads.made import make_views
from tests.oracles.masked import masked_absolute

FOLDER = Path(__file__).parents[2] / 'configs/simmim'
VIT, SWIN = 'simmim_vit-base_16xb128-steplr-800e_in1k', 'simmim_swin-base_16xb128-coslr-100e_in1k'
SMALL = dict(
    vit=dict(img_size=64, patch_size=16, embed_dim=24, depth=2, num_heads=2),
    swin=dict(embed_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 2, 2, 4), img_size=64, window_size=2),
)


def load(name):
    return read_config(str(FOLDER / f'{name}.py'))


def hidden_of(cfg, seed=0):
    view = cfg.train_dataloader.dataset.pipeline[0]['views'][0]
    mask = TRANSFORMS.build(dict(view['mask']))
    return mask.draw(mask.grid((view['size'],) * 2), np.random.default_rng(seed))


@pytest.mark.parametrize('kind, name, patch', [('vit', VIT, 16), ('swin', SWIN, 32)])
def test_the_loss_is_that_of_the_official_code(kind, name, patch):
    """Mean absolute error of the hidden pixels; images are not normalised patch by patch."""
    model = load(name).model
    model.backbone.update(SMALL[kind])
    model.heads.pixels.projector.channels = (24 if kind == 'vit' else 64, patch * patch * 3)
    torch.manual_seed(0)
    model = MODELS.build(model).double().eval()
    views, cells = make_views(batch=2, count=1, side=64), 64 // patch
    views.masks = [torch.zeros(2, cells, cells, dtype=torch.bool)]
    views.masks[0][:, 0, 1] = views.masks[0][1, 1] = True
    views.hidden_counts = [(1, 2)]
    mask = views.mask(0)
    decoded = model.heads['pixels'].projector(model.backbone(views.images[0], mask=mask)[-1])
    want = masked_absolute(decoded, views.images[0], mask.hidden, patch)
    loss = model(views, mode='loss')['loss_pixels']
    assert loss.item() == pytest.approx(want, rel=1e-9)
    loss.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    assert model.backbone.mask_token.grad.abs().sum() > 0


@pytest.mark.parametrize('name, grid, hidden', [(VIT, (14, 14), 120), (SWIN, (6, 6), 22)])
def test_so_many_are_hidden(name, grid, hidden):
    """60 %, rounded up: 30 of 49 cells of 2 x 2 patches, 22 of 36 cells."""
    masks = [hidden_of(load(name), seed) for seed in range(20)]
    assert {mask.shape for mask in masks} == {grid} and {int(mask.sum()) for mask in masks} == {hidden}
    cell = 2 if name == VIT else 1
    for mask in masks:
        assert (mask == mask[::cell, ::cell].repeat(cell, 0).repeat(cell, 1)).all()


@pytest.fixture(scope='module', params=[VIT, SWIN])
def recipe(request):
    """Config, parameter name -> weight decay, optimizer wrapper."""
    cfg = load(request.param)
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    with DefaultScope.overwrite_default_scope('densecl'):
        wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    names = {id(p): name for name, p in model.named_parameters()}
    groups = wrapper.optimizer.param_groups
    return request.param, cfg, {names[id(p)]: g['weight_decay'] for g in groups for p in g['params']}, wrapper


def test_what_decays(recipe):
    name, _, decay, _ = recipe
    assert decay['backbone.mask_token'] == (0.05 if name == VIT else 0)
    tables = {value for key, value in decay.items() if 'relative_position' in key}
    assert tables == {0.05} and decay['heads.pixels.projector.0.weight'] == 0.05
    free = {key for key, value in decay.items() if value == 0}
    assert 'backbone.norm.weight' in free and 'heads.pixels.projector.0.bias' in free
    assert name == SWIN or 'backbone.cls_token' in free


def test_rates(recipe):
    """From 0.5 % to the full rate in 10 epochs; then a tenth after 700 of 800, or a cosine to 5 %."""
    name, cfg, _, wrapper = recipe
    epochs, steps = (800 if name == VIT else 100), 20
    assert cfg.train_cfg.max_epochs == epochs and cfg.train_dataloader.batch_size == 128
    assert cfg.optim_wrapper.clip_grad.max_norm == 5
    made = dict(optimizer=wrapper, epoch_length=steps)
    with DefaultScope.overwrite_default_scope('densecl'):
        schedulers = [
            PARAM_SCHEDULERS.build({'end': epochs, **part}, default_args=made) for part in cfg.param_scheduler
        ]
    rates = []
    for step in range(epochs * steps):
        rates.append(wrapper.optimizer.param_groups[0]['lr'])
        for scheduler in schedulers:
            if not scheduler.by_epoch or step % steps == steps - 1:
                scheduler.step()
    rates = rates[::steps]
    peak = 4e-4 if name == VIT else 8e-4
    assert rates[0] == pytest.approx(0.005 * peak) and rates[10] == pytest.approx(peak)
    assert rates[5] == pytest.approx(0.5025 * peak, rel=0.01)  # mmengine's rise ends one step early
    if name == VIT:
        assert rates[699] == pytest.approx(peak) and rates[700] == pytest.approx(peak / 10)
    else:
        assert rates[55] == pytest.approx(0.525 * peak) and 0.05 * peak < rates[99] < 0.052 * peak
