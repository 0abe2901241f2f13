"""Run under torch.distributed.run: the result of ``everything()`` in a script, to one file a process."""

import runpy
import sys

import torch
import torch.distributed as dist

import densecl.compat

densecl.compat.install()


def main(script: str, out: str) -> None:
    dist.init_process_group('gloo')
    torch.save(runpy.run_path(script)['everything'](), f'{out}.{dist.get_rank()}')
    dist.destroy_process_group()


if __name__ == '__main__':
    main(*sys.argv[1:])
