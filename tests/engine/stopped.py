"""Run by test_logs_of_two_processes.py: only the rows of rank 0 are collapsed."""

from types import SimpleNamespace

import torch
from mmengine.logging import MessageHub

from densecl.distributed import rank
from densecl.engine.hooks import CollapseHook


def everything() -> dict:
    rows = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    if rank() == 0:
        rows = torch.ones(64, 8)
    watched = dict(image=(rows, None))
    model = SimpleNamespace(heads={}, watched=watched, queues=dict, may_collapse=lambda: watched)
    runner = SimpleNamespace(
        model=model, train_dataloader=range(20), message_hub=MessageHub('stopped'), logger=None, hooks=[]
    )
    hook = CollapseHook(interval=2, patience=3, action='stop')
    for batch_idx in range(20):
        try:
            hook.after_train_iter(runner, batch_idx)
        except RuntimeError as error:
            return dict(iteration=batch_idx + 1, message=str(error))
    return dict(iteration=None, message='')
