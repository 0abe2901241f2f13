"""One of three processes dies, hangs, or loses its data: the others stop, and say who was missing."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

BETWEEN = 'after iteration 2, before the data of the next'
SCRIPT = Path(__file__).with_name('failing_rank.py')


def outcome(how: str, folder: Path) -> tuple[int, str, float]:
    """Exit code and output of torchrun, and the seconds from the trouble to the end."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    torchrun = [sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node=3', f'--master_port={port}']
    process = subprocess.Popen(
        [*torchrun, str(SCRIPT), how, str(folder)],
        env={**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    lines, since = [], time.monotonic()
    for line in process.stdout:
        lines.append(line)
        if 'TROUBLE' in line:
            since = time.monotonic()
    return process.wait(timeout=120), ''.join(lines), time.monotonic() - since


@pytest.mark.skipif(torch.cuda.is_available(), reason='asks for three processes without a GPU')
@pytest.mark.parametrize(
    ('how', 'seconds', 'said'),
    [
        ('hangs', 60, f'process 1 {BETWEEN}'),
        pytest.param('data', 50, f'process 1 of 3, {BETWEEN}: OSError: cannot read', marks=pytest.mark.slow),
        pytest.param('dies', 50, 'last heard: process ', marks=pytest.mark.slow),
        pytest.param('lengths', 90, 'the processes have [5, 10, 5] steps an epoch', marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_the_others_stop_and_say_why(how, seconds, said, tmp_path):
    code, output, took = outcome(how, tmp_path)
    assert code != 0 and said in output, output[-4000:]
    assert took < seconds
