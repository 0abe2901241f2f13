"""A run in stages: each goes on with the momentum copy of the one before (DINOv3)."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from densecl.compat import load_checkpoint
from densecl.engine import launch

CONFIGS = Path(__file__).parents[2] / 'configs/dinov3'
STAGES = (
    'dinov3_vit-slim_1xb64-mcrop-constlr-8e_photos',
    'dinov3-gram_vit-slim_1xb64-mcrop-constlr-2e_photos',
    'dinov3-highres_vit-slim_1xb64-mcrop-coslr-1e_photos',
)
CHANNELS = 'model.heads.{}.projector.channels'.format
SMALLER = {
    'model.backbone': dict(embed_dim=32, depth=1, num_heads=2),
    CHANNELS('image'): (32, 24, 24, 16),
    CHANNELS('patches'): (32, 24, 24, 16),
    'model.momentum': dict(start=0.9),
}


def stage(number, tiny, folder, **options):
    """A stage of two steps, of four photos each."""
    cfg = Config.fromfile(CONFIGS / f'{STAGES[number]}.py')
    own = ('launcher', 'log_level', 'train_cfg')
    cfg.merge_from_dict({name: tiny[name] for name in own} | SMALLER | options)
    cfg.merge_from_dict({'train_cfg.max_epochs': 1, 'work_dir': str(folder)})
    cfg.train_dataloader.update(batch_size=4, num_workers=0, persistent_workers=False)
    cfg.train_dataloader.dataset.data_root = tiny.train_dataloader.dataset.data_root
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=1, max_keep_ckpts=-1)
    return cfg


def state(folder, step):
    return load_checkpoint(folder / f'iter_{step}.pth')['state_dict']


def test_one_run_through_three_stages(tiny_config, tmp_path):
    """The target goes on from the one that was loaded, and the anchor is that one as it was."""
    tiny, old = tiny_config(), None
    for number in range(3):
        cfg = stage(number, tiny, tmp_path / f'stage{number}')
        if number:
            cfg.load_from = str(tmp_path / f'stage{number - 1}/iter_2.pth')
            cfg.model.renew_start = (1,) if number == 1 else ()
        launch.build_runner(cfg).train()
        first, last = (state(tmp_path / f'stage{number}', step) for step in (1, 2))
        for key in [k[16:] for k in last if k.startswith('target.backbone.')]:
            if number:
                teacher = old[f'target.backbone.{key}']
                moved = 0.9 * teacher + 0.1 * first[f'backbone.{key}']
                torch.testing.assert_close(first[f'target.backbone.{key}'], moved, rtol=1e-4, atol=1e-6)
                anchor = first[f'target.backbone.{key}'] if number == 1 else teacher
                assert torch.equal(last[f'start.backbone.{key}'], anchor), key
        weight = 'backbone.blocks.0.mlp.fc2.weight'
        assert not torch.equal(last[f'target.{weight}'], last[weight])
        old = last


def test_without_keep_target_it_begins_with_the_online_branch(tiny_config, tmp_path):
    tiny = tiny_config()
    launch.build_runner(stage(0, tiny, tmp_path / 'a')).train()
    cfg = stage(1, tiny, tmp_path / 'b', **{'model.keep_target': False, 'model.renew_start': ()})
    cfg.load_from = str(tmp_path / 'a/iter_2.pth')
    launch.build_runner(cfg).train()
    old, last = state(tmp_path / 'a', 2), state(tmp_path / 'b', 2)
    for key in [k[15:] for k in last if k.startswith('start.backbone.')]:
        assert torch.equal(last[f'start.backbone.{key}'], old[f'backbone.{key}'])


def test_a_stage_without_the_run_before_it_is_refused(tiny_config, tmp_path):
    with pytest.raises(ValueError, match='keep_target=True goes on with the target of an earlier run'):
        launch.build_runner(stage(1, tiny_config(), tmp_path / 'alone')).train()
