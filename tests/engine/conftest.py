"""A small pretraining config on real photos, and a model of two layers, run through mmengine's Runner."""

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from torch.utils.data import DataLoader, TensorDataset

from densecl.engine import LRScalingRunner
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


class Toy(BaseModel):
    """Two layers, one of them called predictor; its loss is any number."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = torch.nn.Linear(3, 2)
        self.predictor = torch.nn.Linear(2, 2)

    def forward(self, inputs, mode='loss'):
        found = self.predictor(self.backbone(inputs))
        return dict(loss=found.square().mean()) if mode == 'loss' else [*found]


class Record(Hook):
    """What the groups of the optimiser have in each iteration."""

    def __init__(self) -> None:
        self.groups = []

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        keys = ('lr', 'weight_decay')
        groups = runner.optim_wrapper.optimizer.param_groups
        self.groups.append([{key: group[key] for key in keys} for group in groups])


#: Numbers runs of all tests: runners of one name in a process share their log.
_RUNS = itertools.count()


@pytest.fixture
def toy_runner(tmp_path):
    """Makes a runner of 4 epochs of 6 steps (2 rows each), which keeps ``record.groups``."""

    def make(optimizer, **options):
        wrapper = dict(optimizer=optimizer)
        for key in ('constructor', 'paramwise_cfg', 'accumulative_counts', 'clip_grad', 'type'):
            if key in options:
                wrapper[key] = options.pop(key)
        record = Record()
        runner = LRScalingRunner(
            model=Toy(),
            work_dir=str(tmp_path / 'toy'),
            experiment_name=f'toy-{next(_RUNS)}',
            train_dataloader=DataLoader(TensorDataset(torch.ones(12, 3)), batch_size=2),
            train_cfg=options.pop('train_cfg', dict(by_epoch=True, max_epochs=4)),
            optim_wrapper=wrapper,
            custom_hooks=[record],
            default_scope='densecl',
            default_hooks={
                'checkpoint': dict(type='CheckpointHook', interval=1, by_epoch=False),
                **options.pop('default_hooks', {}),
            },
            **{'log_level': 'WARNING', **options},
        )
        runner.record = record
        return runner

    return make


@pytest.fixture
def labelled_discs(tmp_path):
    """A labelled set of 20 images of 96 x 96 pixels: bright discs on dark noise."""
    rng, root = np.random.default_rng(0), tmp_path / 'discs'
    for name in ('images', 'labels'):
        (root / name).mkdir(parents=True)
    for i in range(20):
        label = cv2.circle(np.zeros((96, 96), np.uint8), rng.integers(20, 76, 2).tolist(), 25, 1, -1)
        image = 60 + 100 * label[..., None] + rng.integers(0, 60, (96, 96, 3))
        cv2.imwrite(str(root / 'images' / f'{i}.png'), image.astype(np.uint8))
        cv2.imwrite(str(root / 'labels' / f'{i}.png'), label)
    return str(root)
