"""The result of ``everything()`` in a script, in each of several gloo processes.

The processes are forked from a server that has imported what the scripts need: torch, mmengine and the
package cost five seconds a process otherwise.
"""

import faulthandler
import multiprocessing
import os
import runpy
import sys
import warnings
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch.multiprocessing import ProcessExitedException, start_processes

import densecl.compat

PRELOADED = ['densecl.compat', 'densecl.engine', 'densecl.models']


def run(script: Path, out: Path, processes: int) -> list[dict]:
    """Start the processes, and read what each returned.

    gloo's threads end a process with SIGABRT once in some thousand runs. Then all of them start again, once,
    with a warning; the stacks of all Python threads are printed. An exception is never tried again.

    Args:
        script: a file with a function ``everything()``.
        out: where to write; each process adds its rank.
        processes: how many.

    Raises:
        ProcessRaisedException: one of them failed; the traceback is in the message.
        ProcessExitedException: one of them was ended twice.
    """
    multiprocessing.set_forkserver_preload(PRELOADED)
    try:
        start_processes(one, (str(script), str(out), processes), processes, start_method='forkserver')
    except ProcessExitedException as error:
        if error.signal_name != 'SIGABRT':
            raise
        warnings.warn(f'{script.name}: {error}; it is started again', stacklevel=2)
        out = out.with_name('again')
        start_processes(one, (str(script), str(out), processes), processes, start_method='forkserver')
    return [torch.load(f'{out}.{rank}', weights_only=True) for rank in range(processes)]


def one(rank: int, script: str, out: str, processes: int) -> None:
    """What each process does."""
    faulthandler.enable()
    densecl.compat.install()
    store, limit = f'file://{out}.store', timedelta(seconds=300)
    dist.init_process_group('gloo', store, limit, rank=rank, world_size=processes)
    torch.save(runpy.run_path(script)['everything'](), f'{out}.{rank}')
    dist.barrier()
    dist.destroy_process_group()
    sys.stderr.flush()
    os._exit(0)  # gloo's threads sometimes end an interpreter that shuts down with SIGABRT
