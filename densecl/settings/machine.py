"""Describes the machine: cores, memory, GPU."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Machine:
    """The machine, as input of the rules.

    Attributes:
        cores: number of processors that this process may use.
        memory: bytes of main memory.
        gpu: name of the first CUDA device, or None.
        gpu_memory: its memory in bytes.
        bf16: whether arithmetic in bfloat16 is fast.
    """

    cores: int = 2
    memory: int = 8 * 2**30
    gpu: str | None = None
    gpu_memory: int = 0
    bf16: bool = False

    def __str__(self) -> str:
        text = f'{self.cores} cores, {self.memory / 2**30:.0f} GB'
        return f'{text}, {self.gpu} with {self.gpu_memory / 2**30:.0f} GB' if self.gpu else f'{text}, no GPU'


def look_at_machine() -> Machine:
    """The machine that this process runs on."""
    import torch

    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') if hasattr(os, 'sysconf') else 8 * 2**30
    if not torch.cuda.is_available():
        return Machine(available_cores(), memory, bf16=_cpu_has_bf16())
    gpu = torch.cuda.get_device_properties(0)
    return Machine(available_cores(), memory, gpu.name, gpu.total_memory, torch.cuda.is_bf16_supported(False))


def available_cores() -> int:
    """Number of processors for this process, limited by affinity, OMP_NUM_THREADS and a container's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    threads = os.environ.get('OMP_NUM_THREADS', '')
    limits = [cores, int(threads) if threads.isdecimal() and int(threads) else cores, _quota() or cores]
    return max(min(limits), 1)


def _quota() -> int | None:
    """Number of whole processors that a container allows (Linux control groups), or None."""
    try:
        limit, period = Path('/sys/fs/cgroup/cpu.max').read_text().split()
        return max(int(limit) // int(period), 1)
    except (OSError, ValueError):  # no Linux control groups, or the value is 'max'
        return None


def _cpu_has_bf16() -> bool:
    try:
        flags = Path('/proc/cpuinfo').read_text()
    except OSError:
        return False
    return 'amx_bf16' in flags or 'avx512_bf16' in flags
