"""Run under torch.distributed.run: the result of ``everything()`` in a script, to one file a process."""

import os
import runpy
import sys

import torch
import torch.distributed as dist

import densecl.compat

densecl.compat.install()


def main(script: str, out: str) -> None:
    dist.init_process_group('gloo')
    torch.save(runpy.run_path(script)['everything'](), f'{out}.{dist.get_rank()}')
    dist.barrier()
    dist.destroy_process_group()
    sys.stderr.flush()
    os._exit(0)  # gloo's threads sometimes end an interpreter that shuts down with SIGABRT


if __name__ == '__main__':
    main(*sys.argv[1:])
