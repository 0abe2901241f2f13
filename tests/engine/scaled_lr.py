"""Run by test_scaled_lr.py: the learning rate and the log of each of two processes."""

import tempfile
from pathlib import Path

import torch
from mmengine.model import BaseModel
from torch.utils.data import DataLoader, TensorDataset

from densecl.distributed import rank
from densecl.engine import LRScalingRunner
from densecl.engine.resume import check_together


class Toy(BaseModel):
    """One layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 2)

    def forward(self, inputs, mode='loss'):
        return dict(loss=self.layer(inputs).mean())


def everything() -> dict:
    out = Path(tempfile.mkdtemp())
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
    logs = ''.join(path.read_text() for path in sorted(out.rglob('*.log')))
    try:
        check_together(3 * rank(), out)
        apart = ''
    except ValueError as error:
        apart = str(error)
    return dict(apart=apart, lr=wrapper.param_groups[0]['lr'], logs=logs)
