"""Run by test_broken_rank_of_several.py: a run in which one process meets a loss that is not finite."""

import logging
import tempfile
from pathlib import Path

import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel, MMDistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset

from densecl.distributed import rank, world_size
from densecl.engine import LRScalingRunner
from densecl.models.memory import Queue


class Model(BaseModel):
    """A line, batch statistics and a queue; the last process of all fails in the third step."""

    def __init__(self, value: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.heads, self.value, self.passes = {}, value, 0
        self.layer = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
        self.queue = Queue(4, 2)

    def forward(self, inputs, mode='loss'):
        self.passes += 1
        found = self.layer(inputs)
        self.queue.enqueue(found.detach())
        broken = self.passes == 3 and rank() == world_size() - 1
        return dict(loss_image=found.square().mean() * (self.value if broken else 1.0))


class Keep(Hook):
    """State and optimiser after every iteration."""

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.states = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        model = runner.model.module
        moments = [s['momentum_buffer'] for s in runner.optim_wrapper.optimizer.state.values()]
        self.states.append([x.clone() for x in (*model.state_dict().values(), *moments)])


def one(value: float, action: str) -> dict:
    keep, folder, said = Keep(), tempfile.mkdtemp(), []
    data = torch.randn(10, 3, generator=torch.Generator().manual_seed(rank()))
    runner = LRScalingRunner(
        model=MMDistributedDataParallel(Model(value), broadcast_buffers=False),
        work_dir=folder,
        experiment_name=f'broken-{value}-{action}',
        train_dataloader=DataLoader(TensorDataset(data), batch_size=2),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9)),
        default_hooks=dict(
            runtime_info=dict(type='DeferredRuntimeInfoHook', interval=4),
            checkpoint=dict(type='PretrainCheckpointHook', interval=-1),
            finite=dict(type='FiniteStepHook', action=action),
        ),
        custom_hooks=[keep],
        default_scope='densecl',
        log_level='WARNING',
    )
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    runner.logger.addHandler(handler)
    stopped = ''
    try:
        runner.train()
    except RuntimeError as error:
        stopped = str(error)
    saved = sorted(path.name for path in Path(folder).rglob('iter_*.json'))
    return dict(states=keep.states, said=said, stopped=stopped, saved=saved)


def everything() -> dict:
    cases = {'nan': float('nan'), 'inf': float('inf')}
    return {f'{n}-{action}': one(value, action) for n, value in cases.items() for action in ('skip', 'stop')}
