#!/usr/bin/env python
"""Time and memory of the tiled contrastive loss beside the plain one.

Plain is what most code does: the whole matrix of logits, then ``logsumexp``, all with autograd. Cases:
in-batch negatives, where both sides need a gradient and nobody is his own negative; and DenseCL's dense
term, 256 images of 49 cells against a queue of 65,536, where the queries alone need one. Time is the median
of forward and backward pass, both forms taking turns. Memory is what one forward and backward pass adds to
the peak of a process of its own (Linux, or a GPU).

    python benchmarks/contrastive.py [--cases 4096 16384 dense] [--rounds 5] [--dtype float32] [--device cpu]

The plain forms of the two large cases need 4 and 13 GiB.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from densecl.models.losses.kernel import similarity_logsumexp

CHANNELS, TEMPERATURE = 128, 0.2
# Rows, keys, in-batch
CASES = {
    '4096': (4096, 4096, True),
    '16384': (16384, 16384, True),
    'dense': (12544, 65536, False),
}


def inputs(case: str, dtype: torch.dtype, device: str) -> tuple[Tensor, Tensor]:
    """Queries over the temperature, and keys."""
    rows, keys, in_batch = CASES[case]
    torch.manual_seed(0)
    query = F.normalize(torch.randn(rows, CHANNELS, device=device), dim=1) / TEMPERATURE
    key = F.normalize(torch.randn(keys, CHANNELS, device=device), dim=1)
    return query.to(dtype).requires_grad_(), key.to(dtype).requires_grad_(in_batch)


def plain(query: Tensor, keys: Tensor, in_batch: bool) -> Tensor:
    """Mean log-sum-exp from the whole matrix."""
    logits = query.float() @ keys.float().T
    if in_batch:
        logits.fill_diagonal_(float('-inf'))
    return logits.logsumexp(1).mean()


def tiled(query: Tensor, keys: Tensor, in_batch: bool) -> Tensor:
    """The same, tile by tile."""
    index = torch.arange(len(query), device=query.device)

    def others(columns: slice, _: Tensor) -> Tensor:
        return index[:, None] != index[columns]

    return similarity_logsumexp(query, keys, others if in_batch else None)[0].mean()


FORMS: dict[str, Callable[..., Tensor]] = dict(plain=plain, tiled=tiled)


def step(form: str, case: str, query: Tensor, keys: Tensor) -> Tensor:
    """Forward and backward pass."""
    query.grad = keys.grad = None
    loss = FORMS[form](query, keys, CASES[case][2])
    loss.backward()
    return loss.detach()


def seconds(case: str, rounds: int, dtype: torch.dtype, device: str) -> dict[str, float]:
    """Median seconds of each form, after one round to warm up."""
    query, keys = inputs(case, dtype, device)
    times: dict[str, list[float]] = {form: [] for form in FORMS}
    for _ in range(rounds + 1):
        for form, taken in times.items():
            start = time.perf_counter()
            step(form, case, query, keys)
            if query.is_cuda:
                torch.cuda.synchronize()
            taken.append(time.perf_counter() - start)
    return {form: statistics.median(taken[1:]) for form, taken in times.items()}


def peak(form: str, case: str, dtype: torch.dtype, device: str) -> dict[str, float]:
    """Bytes that one pass adds to the peak, and its loss; on a CPU this needs a fresh process."""
    query, keys = inputs(case, dtype, device)
    step(form, case, *(x[:64].detach().requires_grad_() for x in (query, keys)))  # libraries' own
    if query.is_cuda:
        torch.cuda.reset_peak_memory_stats()
    before = high_water(query.is_cuda)
    loss = step(form, case, query, keys)
    return dict(bytes=high_water(query.is_cuda) - before, loss=loss.item())


def high_water(cuda: bool) -> int:
    """Most bytes of memory in use so far."""
    if cuda:
        return torch.cuda.max_memory_allocated()
    # Not getrusage: its figure survives the exec, so it would be the parent's.
    status = dict(line.split(':', 1) for line in Path('/proc/self/status').read_text().splitlines())
    return int(status['VmHWM'].split()[0]) * 1024


def in_fresh_process(form: str, case: str, args: argparse.Namespace) -> dict[str, float]:
    """:func:`peak`, measured by this script started again."""
    command = [sys.executable, __file__, '--peak', form, '--cases', case]
    command += ['--dtype', args.dtype, '--device', args.device]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--cases', nargs='+', choices=CASES, default=list(CASES))
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--dtype', choices=['float32', 'bfloat16', 'float16'], default='float32')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--peak', choices=FORMS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    dtype = getattr(torch, args.dtype)
    if args.peak:
        print(json.dumps(peak(args.peak, args.cases[0], dtype, args.device)))
        return
    print(f'{args.device}, {args.dtype}, {torch.get_num_threads()} threads, median of {args.rounds}')
    print('           time: plain    tiled  ratio   memory: plain      tiled  ratio   losses differ by')
    for case in args.cases:
        memory = {form: in_fresh_process(form, case, args) for form in FORMS}
        taken = seconds(case, args.rounds, dtype, args.device)
        mib = {form: found['bytes'] / 2**20 for form, found in memory.items()}
        print(
            f'{case:8s} {taken["plain"]:8.3f} s {taken["tiled"]:6.3f} s'
            f' {taken["tiled"] / taken["plain"]:6.2f}'
            f' {mib["plain"]:11.0f} MiB {mib["tiled"]:6.1f} MiB {mib["tiled"] / mib["plain"]:6.3f}'
            f' {abs(memory["tiled"]["loss"] - memory["plain"]["loss"]):18.1e}',
            flush=True,
        )


if __name__ == '__main__':
    main()
