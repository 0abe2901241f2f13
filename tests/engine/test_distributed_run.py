"""tools/dist_train.sh with two processes, on a CPU."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from densecl.compat import load_checkpoint

LAUNCHER = Path(__file__).parents[2] / 'tools/dist_train.sh'


@pytest.fixture
def start(tiny_config, tmp_path):
    """Starts a run of two processes, as a process group of its own."""

    def run(**options):
        cfg = tiny_config(**{'train_dataloader.num_workers': 1, **options})
        cfg.log_level = 'INFO'
        cfg.default_hooks.logger = dict(type='LoggerHook', interval=1)
        config = tmp_path / 'config.py'
        cfg.dump(config)
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            port = probe.getsockname()[1]
        path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
        return subprocess.Popen(
            ['bash', str(LAUNCHER), str(config), '2', '--work-dir', str(tmp_path / 'run')],
            env={**os.environ, 'PORT': str(port), 'PATH': path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    return run


@pytest.mark.skipif(torch.cuda.is_available(), reason='asks for two processes without a GPU')
def test_two_processes_train_one_model(start, tmp_path):
    process = start()
    output = process.communicate(timeout=200)[0]
    assert process.returncode == 0, output[-3000:]
    # 10 images, 2 processes of 2: 2 steps an epoch, 2 epochs
    checkpoint = load_checkpoint(tmp_path / 'run/iter_4.pth')
    state = checkpoint['state_dict']
    assert int(state['step']) == 4
    assert int(state['heads.image.objective.queue.enqueued']) == 4 * 2 * 2


@pytest.mark.skipif(torch.cuda.is_available(), reason='asks for two processes without a GPU')
def test_a_signal_to_the_launcher_saves_in_one_step_of_all(start, tmp_path):
    """SIGINT, as Ctrl-C; SIGTERM to a process alone is the same to it: see test_signals.py."""
    process = start(**{'train_cfg.max_epochs': 2000, 'default_hooks.checkpoint.interval': 100000})
    for line in process.stdout:
        if 'img/s' in line:
            break
    sent = time.perf_counter()
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=120)[0]
    assert 'SIGINT: saved' in output, output[-3000:]
    assert time.perf_counter() - sent < 30
    saved = Path((tmp_path / 'run/last_checkpoint').read_text())
    assert load_checkpoint(saved)['meta']['iter'] > 0
