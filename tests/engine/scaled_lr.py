"""Run twice by test_scaled_lr.py: each of the two processes writes its learning rate."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from mmengine.model import BaseModel
from torch.utils.data import DataLoader, TensorDataset

from densecl.engine import LRScalingRunner


class Toy(BaseModel):
    """One layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 2)

    def forward(self, inputs, mode='loss'):
        return dict(loss=self.layer(inputs).mean())


if __name__ == '__main__':
    out, rank = Path(sys.argv[1]), int(sys.argv[2])
    dist.init_process_group('gloo', f'file://{out}/store', rank=rank, world_size=2)
    options = dict(base_batch_size=48, enable=True)
    runner = LRScalingRunner(
        model=Toy(),
        work_dir=str(out),
        train_dataloader=DataLoader(TensorDataset(torch.ones(12, 3)), batch_size=2),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.5), accumulative_counts=3),
        auto_scale_lr=options,
        default_scope='densecl',
    )
    wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.scale_lr(wrapper, options)
    (out / f'lr.{rank}').write_text(str(wrapper.param_groups[0]['lr']))
    dist.destroy_process_group()
