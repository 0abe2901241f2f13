"""Run by test_whole_checkpoints.py: two processes that do not see the same files of their run."""

import os
import tempfile
from pathlib import Path

import torch
from mmengine.config import Config

from densecl.distributed import rank
from densecl.engine import launch

#: Iterations of the checkpoints that process 0 and 1 see; negative: it is damaged.
CASES = dict(
    same=((2, 4), (2, 4)),
    newer=((2, 4), (2, 4, 6)),
    damaged=((2, -4), (2, 4)),
    late=((2, 4), (2,)),
    broken=((-2,), (2,)),
    none=((), (2,)),
)


def everything() -> dict:
    return {name: goes_on_from(seen[rank()]) for name, seen in CASES.items()}


def goes_on_from(iterations: tuple[int, ...]) -> str:
    os.chdir(tempfile.mkdtemp())
    for number in iterations:
        path = Path('run') / f'iter_{abs(number)}.pth'
        path.parent.mkdir(exist_ok=True)
        meta = dict(iter=abs(number), epoch=0, time=f'20260101_{abs(number):06}')
        torch.save(dict(meta=meta, state_dict={}), path)
        if number < 0:
            path.write_bytes(path.read_bytes()[:-30])
    cfg = Config(dict(work_dir='run', launcher='pytorch', load_from='start.pth'))
    try:
        launch.use_resume(cfg, 'auto')
    except (ValueError, OSError) as error:
        return str(error)
    return cfg.load_from if cfg.resume else f'anew with {cfg.load_from}'
