"""Run by test_logs_of_two_processes.py: a run whose values differ from process to process."""

import tempfile

import torch
import torch.distributed as dist
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from torch.utils.data import DataLoader, TensorDataset

from densecl.distributed import rank, world_size
from densecl.engine import LRScalingRunner
from densecl.engine.hooks import DeferredRuntimeInfoHook

CALLS = []


class Labelled(BaseModel):
    """Four terms of 1 on rank 0 count, none of the others': the share of a rank is sum * W / count."""

    def __init__(self) -> None:
        super().__init__()
        self.one = torch.nn.Parameter(torch.ones(()))
        self.passes = 0

    def forward(self, inputs, mode='loss'):
        terms = self.one.expand(4) if rank() == 0 else 0 * self.one.expand(4)
        self.passes += 1
        number = torch.tensor(float(10 * self.passes + 2 * rank()))
        broken = torch.tensor(float('nan') if (rank(), self.passes) == (1, 2) else 1.0)
        return dict(loss=terms.sum() * world_size() / 4, number=number, broken=broken)


class CountCollectives(Hook):
    """The iterations in which processes talk to each other."""

    def before_train(self, runner) -> None:
        original = dist.all_reduce

        def counted(*args, **kwargs):
            CALLS.append(runner.iter + 1)
            return original(*args, **kwargs)

        dist.all_reduce = counted


def everything() -> dict:
    runner = LRScalingRunner(
        model=Labelled(),
        work_dir=tempfile.mkdtemp(),
        train_dataloader=DataLoader(TensorDataset(torch.ones(10, 1)), batch_size=1),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0)),
        default_hooks=dict(
            runtime_info=dict(type='DeferredRuntimeInfoHook', interval=4),
            logger=dict(type='LoggerHook', interval=8),
            checkpoint=None,
        ),
        custom_hooks=[CountCollectives()],
        default_scope='densecl',
        log_level='WARNING',
    )
    runner.train()
    logs = runner.message_hub.log_scalars
    found = {name: logs[f'train/{name}']._log_history.tolist() for name in ('loss', 'number', 'broken')}
    norms = logs['train/grad_norm']._log_history.tolist() if 'train/grad_norm' in logs else []
    calls = list(CALLS)
    hook = next(hook for hook in runner.hooks if isinstance(hook, DeferredRuntimeInfoHook))
    hook._pending = [{'loss': torch.ones(()), f'of_rank_{rank()}': torch.ones(())}]
    try:
        hook.flush(runner)
    except ValueError as error:
        refused = str(error).replace('of_rank_0', 'of_rank_1')
    return dict(found, grad_norm=norms, calls=calls, refused=refused)
