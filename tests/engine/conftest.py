"""A small pretraining config on real photos, run through mmengine's Runner."""

from pathlib import Path

import pytest
from mmengine.config import Config

from densecl.sample import sample_root

CONFIGS = Path(__file__).parents[2] / 'configs'


@pytest.fixture
def tiny_config(tmp_path):
    """10 photos of the sample, 2 epochs of 5 steps, a small backbone at 64 px, checkpoints at every step."""
    photos = tmp_path / 'photos'
    photos.mkdir()
    for path in sorted((sample_root() / 'photos').rglob('*.jpg'))[:10]:
        (photos / path.name).symlink_to(path)

    def make(**options):
        cfg = Config.fromfile(CONFIGS / 'quickstart/densecl_resnet18_sample.py')
        cfg.merge_from_dict(
            {
                'work_dir': str(tmp_path / 'run'),
                # A million parameters: checkpoints at every step are written in no time.
                'model.backbone': dict(
                    type='TorchvisionFeatures',
                    arch='mobilenet_v3_small',
                    nodes=['features.12'],
                    _delete_=True,
                ),
                'model.heads.image.projector.channels': (576, 64, 128),
                'model.heads.dense.projector.channels': (576, 64, 128),
                'model.bn_groups': 1,
                'model.heads.image.objective.queue': 7,
                'model.heads.dense.objective.queue': 7,
                'train_dataloader.batch_size': 2,
                'train_dataloader.num_workers': 0,
                'train_dataloader.persistent_workers': False,
                'train_dataloader.dataset.data_root': str(photos),
                'train_dataloader.dataset.pipeline.0.views.0.size': 64,
                'train_cfg.max_epochs': 2,
                'param_scheduler.0.T_max': 2,
                'default_hooks.checkpoint.by_epoch': False,
                'default_hooks.checkpoint.interval': 1,
                'default_hooks.checkpoint.max_keep_ckpts': -1,
                'launcher': 'none',
                'log_level': 'WARNING',
                **options,
            }
        )
        return cfg

    return make
