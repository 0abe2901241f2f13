"""SlotCon's configs: layers of the official code, sum of both directions, schedules that survive a resume."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from densecl.compat import load_checkpoint
from densecl.engine.launch import build_runner
from densecl.registry import MODELS
from densecl.sample import sample_root

FOLDER = Path(__file__).parents[2] / 'configs/slotcon'
LAYERS = [4096, 'BatchNorm', 'GELU', 4096, 'BatchNorm', 'GELU', 256]


def described(perceptron: nn.Sequential, kinds) -> list:
    found = []
    for layer in perceptron:
        if isinstance(layer, kinds):
            assert layer.bias is not None
            found.append(layer.weight.shape[0])
        else:
            found.append(type(layer).__name__.removesuffix('1d').removesuffix('2d'))
    return found


@pytest.mark.parametrize('ending, slots', [('200e_in1k', 2048), ('800e_coco', 256)])
def test_layers_are_those_of_the_official_code(ending, slots):
    cfg = Config.fromfile(FOLDER / f'slotcon_resnet50_8xb64-coslr-{ending}.py')
    init_default_scope(cfg.default_scope)
    with torch.device('meta'):
        head = MODELS.build(dict(cfg.model.heads.slots, type='Head'))
    assert described(head.projector.mlp, nn.Conv2d) == LAYERS
    assert described(head.predictor, nn.Linear) == LAYERS
    assert head.projector.slots.shape == (slots, 256)
    assert head.objective['cells'].center.shape == (1, slots)
    # the sum of two directions, each 0.5 and 0.5; the contrast, in which InfoNCE has t, times 2 t
    weights = [(pair.name, pair.weight * head.weight(0)) for pair in head.pairs]
    assert weights == [('grouping', 0.5)] * 2 + [('contrast', 1.0)] * 2
    assert (cfg.model.export_branch, cfg.sync_bn) == ('target', 'torch')
    assert cfg.train_cfg.max_epochs == (200 if slots == 2048 else 800)


@pytest.fixture
def make_config(tmp_path):
    """12 photos, 2 epochs of 3 steps at 32 px, a checkpoint in the midst of the second epoch."""
    photos = tmp_path / 'photos'
    photos.mkdir()
    for path in sorted((sample_root() / 'photos').rglob('*.jpg'))[:12]:
        (photos / path.name).symlink_to(path)

    def make(folder: str, **options) -> Config:
        cfg = Config.fromfile(FOLDER / 'slotcon_resnet18_1xb64-coslr-6e_photos.py')
        cfg.merge_from_dict(
            {
                'work_dir': str(tmp_path / folder),
                'experiment_name': f'slotcon-{folder}',
                'model.backbone.base_channels': 8,
                'model.heads.slots.projector.channels': (64, 32, 16),
                'model.heads.slots.predictor.channels': (16, 32, 16),
                'train_dataloader.batch_size': 4,
                'train_dataloader.num_workers': 0,
                'train_dataloader.persistent_workers': False,
                'train_dataloader.dataset.data_root': str(photos),
                'train_dataloader.dataset.pipeline.0.views.0.size': 32,
                'train_dataloader.dataset.pipeline.0.views.1.size': 32,
                'train_cfg.max_epochs': 2,
                'default_hooks.checkpoint.by_epoch': False,
                'default_hooks.checkpoint.interval': 4,
                'default_hooks.checkpoint.max_keep_ckpts': -1,
                'default_hooks.logger.interval': 1,
                'launcher': 'none',
                'log_level': 'WARNING',
                **options,
            }
        )
        cfg.model.heads.slots.objective.cells.teacher_temperature = dict(start=0.04, end=0.07)
        return cfg

    return make


def test_a_resumed_run_keeps_centre_momentum_and_temperature(make_config, tmp_path):
    whole = build_runner(make_config('whole'))
    whole.train()
    again = make_config('again', resume=True, load_from=str(tmp_path / 'whole/iter_4.pth'))
    resumed = build_runner(again)
    resumed.train()
    states = [runner.model.state_dict() for runner in (whole, resumed)]
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name
    early = load_checkpoint(tmp_path / 'whole/iter_4.pth')['state_dict']
    center = 'heads.slots.objective.cells.center'
    assert early[center].norm() > 0 and not torch.equal(early[center], states[0][center])
    for runner in (whole, resumed):
        objective = runner.model.heads['slots'].objective['cells']
        assert objective.clock is runner.model.clock and runner.model.steps == 6
        assert runner.model.momentum == pytest.approx(1.0)
        assert objective.teacher_temperature(objective.clock) == pytest.approx(0.07)


def test_slots_stay_in_use_on_real_photos(make_config):
    """A few steps at a usable rate: many slots win cells, and what is logged makes sense."""
    cfg = make_config('short', **{'train_cfg.max_epochs': 5})
    cfg.default_hooks.checkpoint.interval = 1000
    runner = build_runner(cfg)
    runner.train()
    logged = {k: v.current() for k, v in runner.message_hub.log_scalars.items()}
    occupancy, active = logged['train/slots_occupancy'], logged['train/slots_active']
    assert occupancy * 64 > 6 and occupancy * 64 >= active > 1
    entropies = [logged[f'train/slots_{name}_entropy_grouping'] for name in ('teacher', 'usage')]
    assert 0 < entropies[0] <= entropies[1] <= 1
    assert 0 < logged['train/slots_matched_contrast'] <= 1 and 0 < logged['train/slots_matched_grouping'] <= 1
    terms = logged['train/slots_grouping'] + 2 * logged['train/slots_contrast']
    assert logged['train/loss_slots'] == pytest.approx(terms, rel=1e-4)
