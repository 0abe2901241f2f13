"""Run by test_heads_first.py: five steps of a detector's kind of training, in the first three of which the
backbone waits."""

import os
import tempfile

import torch
from mmengine.model import BaseModel
from torch import nn
from torch.utils.data import DataLoader

from densecl.distributed import rank, world_size
from densecl.engine import LRScalingRunner


class Model(BaseModel):
    """A backbone and a head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 1)

    def forward(self, inputs, mode='loss'):
        return dict(loss=self.head(self.backbone(inputs).relu().mean((2, 3))).square().mean())


def everything() -> dict[str, torch.Tensor]:
    world, images = world_size(), torch.randn(5, 4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    mine = images.chunk(world, 1)[rank()].flatten(0, 1)  # of each batch
    os.environ['LOCAL_RANK'] = '0'  # mmengine reads it
    runner = LRScalingRunner(
        model=Model(),
        work_dir=tempfile.mkdtemp(),
        train_dataloader=DataLoader([dict(inputs=image) for image in mine], batch_size=4 // world),
        train_cfg=dict(by_epoch=False, max_iters=5),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9)),
        custom_hooks=[dict(type='HeadsFirstHook', iters=3)],
        launcher='pytorch' if world > 1 else 'none',
        cfg=dict(model_wrapper_cfg=dict(type='MMDistributedDataParallel', device_ids=None)),
        default_scope='densecl',
    )
    runner.train()
    return getattr(runner.model, 'module', runner.model).state_dict()
