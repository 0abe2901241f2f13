"""Run by test_failing_ranks.py: one of several processes dies, hangs, does not start, or loses its data."""

import os
import signal
import sys
import time

import torch

import densecl.compat

densecl.compat.install()

from mmengine.config import Config  # noqa: E402
from mmengine.model import BaseModel  # noqa: E402
from torch.utils.data import Dataset  # noqa: E402

from densecl.distributed import rank  # noqa: E402
from densecl.engine import LRScalingRunner, launch  # noqa: E402
from densecl.registry import DATASETS, MODELS  # noqa: E402

HOW = sys.argv[1]


@DATASETS.register_module()
class Numbers(Dataset):
    """Ones; of process 1 the third batch is trouble."""

    def __len__(self) -> int:
        return 60 if HOW == 'lengths' and rank() == 1 else 30

    def __getitem__(self, key) -> dict:
        self.seen = getattr(self, 'seen', 0) + 1
        if rank() == 1 and self.seen == 5:
            print('TROUBLE', flush=True)
            if HOW == 'dies':
                os.kill(os.getpid(), signal.SIGKILL)
            if HOW == 'hangs':
                time.sleep(300)
            if HOW == 'data':
                raise OSError('cannot read photos/broken.jpg')
        return dict(inputs=torch.ones(3))


@MODELS.register_module()
class Line(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 2)

    def forward(self, inputs, mode='loss'):
        return dict(loss=self.layer(torch.stack(inputs)).square().mean())


cfg = Config(
    dict(
        default_scope='densecl',
        launcher='pytorch',
        work_dir=sys.argv[2],
        env_cfg=dict(dist_cfg=dict(backend='nccl', timeout=int(sys.argv[3]))),
        model=dict(type='Line'),
        model_wrapper_cfg=dict(type='MMDistributedDataParallel', broadcast_buffers=False),
        train_dataloader=dict(
            batch_size=2,
            num_workers=0,
            sampler=dict(type='PretrainSampler'),
            dataset=dict(type='Numbers'),
        ),
        train_cfg=dict(type='PretrainLoop', max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        default_hooks=dict(heartbeat=dict(type='HeartbeatHook', every=0.5)),
        log_level='WARNING',
    )
)
launch.use_gloo_without_gpu(cfg)
runner = LRScalingRunner.from_cfg(cfg)
if HOW == 'starts' and rank() == 1:
    print('TROUBLE', flush=True)
    time.sleep(300)
runner.train()
