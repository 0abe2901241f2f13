"""One of several processes dies, hangs, or loses its data: the others stop, and say who was missing."""

import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from mmengine.hooks import Hook
from run_over_processes import PRELOADED
from torch.multiprocessing import start_processes

import densecl.compat
from densecl.engine import launch
from densecl.engine.hooks import heartbeat
from densecl.registry import HOOKS
from tests.engine.test_resume import same_checkpoint

BETWEEN = 'after iteration 2, before the data of the next'
SCRIPT = Path(__file__).with_name('failing_rank.py')


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def outcome(how: str, folder: Path) -> tuple[int, str, float]:
    """Exit code and output of torchrun, and the seconds from the trouble to the end."""
    torchrun = [sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node=3']
    process = subprocess.Popen(
        [*torchrun, f'--master_port={free_port()}', str(SCRIPT), how, str(folder), '8'],
        env={**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    lines, since = [], time.monotonic()
    for line in process.stdout:
        lines.append(line)
        if 'TROUBLE' in line:
            since = time.monotonic()
    return process.wait(timeout=120), ''.join(lines), time.monotonic() - since


no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason='asks for processes without a GPU')


def hanging(number: int, folder: str, port: int) -> None:
    """One of two processes, of a server that has imported what takes longest."""
    for stream in (1, 2):
        os.dup2(os.open(f'{folder}/{number}.txt', os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    os.environ.update(RANK=str(number), LOCAL_RANK=str(number), WORLD_SIZE='2')
    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    sys.argv = [str(SCRIPT), 'hangs', folder, '4']
    runpy.run_path(str(SCRIPT), run_name='__main__')


def check_told(output: str, processes: int, where: str) -> None:
    """Once half of the time limit is over, by the first process; then by those that wait, at once."""
    assert output.count('furthest behind') == 1, output[-4000:]
    early, late = (output.index(f'{start}{where}') for start in (f'behind of {processes}: ', 'heard: '))
    assert early < late


@no_gpu
def test_a_hang_is_told_before_the_end(tmp_path):
    multiprocessing.set_forkserver_preload(PRELOADED)
    arguments = str(tmp_path), free_port()
    running = start_processes(hanging, arguments, 2, join=False, start_method='forkserver').processes
    running[0].join(60)
    running[1].kill()
    output = (tmp_path / '0.txt').read_text()
    assert running[0].exitcode == 1, output
    check_told(output, 2, f'process 1 on {socket.gethostname()} {BETWEEN}')


@no_gpu
@pytest.mark.slow
@pytest.mark.parametrize(
    ('how', 'where'),
    [('hangs', f'process 1 on {socket.gethostname()} {BETWEEN}'), ('starts', 'process 1 has not begun')],
)
def test_torchrun_ends_a_hang(how, where, tmp_path):
    code, output, took = outcome(how, tmp_path)
    assert code != 0 and took < 60
    check_told(output, 3, where)


@no_gpu
@pytest.mark.slow
@pytest.mark.parametrize(
    ('how', 'seconds', 'said'),
    [
        ('data', 50, f'process 1 of 3, {BETWEEN}: OSError: cannot read'),
        ('dies', 50, 'last heard: process '),
        ('lengths', 90, 'the processes have [5, 10, 5] steps an epoch'),
    ],
)  # fmt: skip
def test_the_others_stop_and_say_why(how, seconds, said, tmp_path):
    code, output, took = outcome(how, tmp_path)
    assert code != 0 and said in output, output[-4000:]
    assert took < seconds


@HOOKS.register_module(force=True)
class DieIn(Hook):
    """SIGKILL of a process, in its step of an iteration."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def before_train(self, runner) -> None:
        def die(*_):
            if runner.iter == self.iteration:
                os.kill(os.getpid(), signal.SIGKILL)

        if dist.get_rank() == 1:
            runner.model.module.backbone.register_forward_hook(die)


def training(number: int, config: str, work: str, port: int, die_in: int | None) -> None:
    """What ``tools/train.py CONFIG --resume auto`` does in one of two processes."""
    stream = os.open(f'{work}.{number}.txt', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(stream, 1), os.dup2(stream, 2)
    os.environ.update(RANK=str(number), LOCAL_RANK=str(number), WORLD_SIZE='2')
    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    densecl.compat.install()
    cfg = launch.load_config(config, work, None, 'pytorch')
    if die_in is not None:
        cfg.custom_hooks = [dict(type='DieIn', iteration=die_in)]
    launch.use_resume(cfg, 'auto')
    launch.train(cfg)
    launch.leave_group()
    os._exit(0)


def codes(config: Path, work: Path, die_in: int | None = None) -> list[int]:
    """Exit codes of two such processes."""
    multiprocessing.set_forkserver_preload(PRELOADED)
    arguments = str(config), str(work), free_port(), die_in
    running = start_processes(training, arguments, 2, join=False, start_method='forkserver').processes
    for process in running:
        process.join(120)
    return [process.exitcode for process in running]


@no_gpu
def test_a_run_that_lost_a_process_goes_on_bit_for_bit(tiny_config, tmp_path):
    cfg, config = tiny_config(**{'train_cfg.max_epochs': 3}), tmp_path / 'config.py'
    cfg.default_hooks.checkpoint.interval = 2
    cfg.dump(config)
    whole, killed = tmp_path / 'whole', tmp_path / 'killed'
    assert codes(config, whole) == [0, 0], (tmp_path / 'whole.0.txt').read_text()
    assert codes(config, killed, die_in=3) == [1, -signal.SIGKILL]
    assert [path.name for path in killed.glob('*.pth')] == ['iter_2.pth']
    assert codes(config, killed) == [0, 0], (tmp_path / 'killed.0.txt').read_text()
    same_checkpoint(whole / 'iter_6.pth', killed / 'iter_6.pth')
    logs = (tmp_path / 'killed.0.txt').read_text()
    assert 'last heard: process 1' in logs, logs


class Said(list):
    """A logger."""

    error = list.append


@pytest.fixture
def of_process(monkeypatch):
    """A hook as process ``number`` of twenty."""
    store = dist.HashStore()
    monkeypatch.setattr(heartbeat, 'world_size', lambda: 20)

    def made(number, done, heard=0.0):
        hook = heartbeat.HeartbeatHook()
        hook._store = store
        hook._move(done, f'at {done}')
        now = time.time()
        with monkeypatch.context() as context:
            context.setattr(heartbeat, 'rank', lambda: number)
            context.setattr(heartbeat.time, 'time', lambda: now - heard)
            hook._post()
        monkeypatch.setattr(heartbeat, 'rank', lambda: number)
        return hook

    return made


def test_who_is_behind(of_process):
    """Those that have not begun come first, without a wait; then those with the fewest steps."""
    said, since = Said(), time.monotonic()
    for number in range(19):
        hook = of_process(number, 4 if number == 7 else 5)
    first = of_process(0, 5)
    first._tell(said)
    assert 'furthest behind of 20: process 19 has not begun. ' in said.pop()
    of_process(19, 5)
    hook = of_process(18, 5)
    hook._tell(said)
    assert not said  # process 0 does
    of_process(0, 5)._tell(said)
    assert f'20: process 7 on {socket.gethostname()} at 4, for 0 s, heard 0 s ago. ' in said.pop()
    of_process(7, 5)
    of_process(0, 5, heard=100.0)
    of_process(1, 5)._tell(said)
    assert 'process 1 has not moved' in said[0] and 'process 7 on' in said[0] and 'and 12 more' in said[0]
    assert time.monotonic() - since < 5
