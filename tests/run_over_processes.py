"""The result of ``everything()`` in a script, in each of several gloo processes.

The processes are forked from a server that has imported what the scripts need: torch, mmengine and the
package cost five seconds a process otherwise.
"""

import multiprocessing
import os
import runpy
import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch.multiprocessing import start_processes

import densecl.compat

PRELOADED = ['densecl.compat', 'densecl.engine', 'densecl.models']


def run(script: Path, out: Path, processes: int) -> list[dict]:
    """Start the processes, and read what each returned.

    Args:
        script: a file with a function ``everything()``.
        out: where to write; each process adds its rank.
        processes: how many.

    Raises:
        ProcessRaisedException: one of them failed; the traceback is in the message.
    """
    multiprocessing.set_forkserver_preload(PRELOADED)
    arguments = str(script), str(out), processes
    start_processes(one, arguments, processes, start_method='forkserver')
    return [torch.load(f'{out}.{rank}', weights_only=True) for rank in range(processes)]


def one(rank: int, script: str, out: str, processes: int) -> None:
    """What each process does."""
    densecl.compat.install()
    store, limit = f'file://{out}.store', timedelta(seconds=300)
    dist.init_process_group('gloo', store, limit, rank=rank, world_size=processes)
    torch.save(runpy.run_path(script)['everything'](), f'{out}.{rank}')
    dist.barrier()
    dist.destroy_process_group()
    sys.stderr.flush()
    os._exit(0)  # gloo's threads sometimes end an interpreter that shuts down with SIGABRT
