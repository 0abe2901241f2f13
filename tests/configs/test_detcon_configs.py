"""DetCon's configs: layers, sums and schedules of the official code, grids that fit their levels."""

import math
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from densecl.registry import DATASETS, MODELS, PROPOSALS, TRANSFORMS
from densecl.sample import sample_root
from densecl.structures import Views

FOLDER = Path(__file__).parents[2] / 'configs/detcon'
CONFIGS = {
    'b': 'detcon-b_resnet50_8xb512-coslr-100e_in1k.py',
    's': 'detcon-s_resnet50_8xb512-coslr-100e_in1k.py',
    'small': 'detcon-b_resnet18_1xb64-coslr-6e_photos.py',
}


def load(name):
    cfg = Config.fromfile(FOLDER / CONFIGS[name])
    init_default_scope(cfg.default_scope)
    return cfg


def described(perceptron: nn.Sequential) -> list:
    return [
        (layer.in_features, layer.out_features, layer.bias is not None)
        if isinstance(layer, nn.Linear)
        else type(layer).__name__
        for layer in perceptron
    ]


def test_detcon_b_is_the_official_one():
    cfg = load('b')
    with torch.device('meta'):
        head = MODELS.build(dict(cfg.model.heads.masks, type='Head'))
    tail = ['BatchNorm1d', 'ReLU', (4096, 256, False)]
    assert described(head.projector) == [(2048, 4096, True), *tail]
    assert described(head.predictor) == [(256, 4096, True), *tail]
    assert [head.weight(0) * pair.weight for pair in head.pairs] == [1, 1]  # both directions are summed
    assert head.objective.schedule.values == (0.1,)
    assert cfg.model.momentum == dict(start=0.996, end=1.0) and cfg.sync_bn == 'torch'
    optimizer = cfg.optim_wrapper.optimizer
    assert optimizer.lr == pytest.approx(0.2 * 4096 / 256) and optimizer.weight_decay == 1.5e-6
    (schedule,) = cfg.param_scheduler
    assert schedule.factor == dict(start=1, end=0, warmup=1, unit='epoch')
    assert cfg.train_dataloader.batch_size * 8 == cfg.auto_scale_lr.base_batch_size == 4096
    assert cfg.train_dataloader.dataset.proposals.type == 'ProposalStore'


def test_detcon_s_shares_weights_and_sums_both_directions():
    cfg = load('s')
    with torch.device('meta'):
        head = MODELS.build(dict(cfg.model.heads.masks, type='Head'))
    assert cfg.model.type == 'SharedPretrainer' and cfg.model.join_views
    assert head.predictor is None and not head.stop_gradient
    assert [head.weight(0) * pair.weight for pair in head.pairs] == [1, 1]
    assert described(head.projector)[0] == (2048, 2048, False)
    assert head.projector.channels == (2048, 2048, 128)


@pytest.mark.parametrize('name', CONFIGS)
def test_masks_lie_on_the_grid_of_c5(name):
    cfg = load(name)
    (transform,) = cfg.train_dataloader.dataset.pipeline
    masks = TRANSFORMS.build(transform.regions.masks)
    stride = 4 * math.prod(cfg.model.backbone.get('strides', (1, 2, 2, 2)))
    assert masks.count == 16 and masks.hard
    assert {view['size'] // stride for view in transform.views} == {masks.grid[0]} == {masks.grid[1]}


def test_the_small_recipe_on_photos():
    """Masks of real photos, and a loss at the value of vectors at random."""
    cfg = load('small')
    assert PROPOSALS.build(cfg.train_dataloader.dataset.proposals).short_side == 128
    cfg.train_dataloader.dataset.update(data_root=str(sample_root() / 'photos'), max_images=8)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    views = Views.collate([dataset[i] for i in range(8)])
    for found in views.regions['masks']:
        assert found.masks.shape == (8, 16, 7, 7)
        assert (found.masks.sum((2, 3)) >= 1).all()
        assert len(found.ids[0].unique()) > 1
    torch.manual_seed(0)
    cfg.model.backbone.base_channels = 16
    cfg.model.heads.masks.projector.channels = (128, 64, 32)
    cfg.model.heads.masks.predictor.channels = (32, 64, 32)
    model = MODELS.build(cfg.model)
    model.init_weights()
    batch = model.data_preprocessor(dict(inputs=views), True)
    logged = model.train()(**batch, mode='loss')
    matched = logged['masks_matched'].item()
    assert 0.2 < matched < 1
    # A mask that is drawn n times counts 1 / n, one without an answer 0.
    per_mask = logged['loss_masks'].item() / 2 / matched
    assert 0.1 * math.log(2 * 16 * 8) < per_mask < math.log(2 * 16 * 8) + 2.5
    logged['loss_masks'].backward()
    still = [n for n, p in model.backbone.named_parameters() if p.requires_grad and p.grad is None]
    assert still == []
