"""tools/dist_train.sh with two processes, on a CPU."""

import os
import signal
import socket
import subprocess
import sys
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
def test_sigterm_to_the_launcher_saves(start, tmp_path):
    process = start(**{'train_cfg.max_epochs': 2000, 'default_hooks.checkpoint.interval': 100000})
    for line in process.stdout:
        if 'img/s' in line:
            break
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=120)[0]
    assert 'SIGTERM: saved' in output, output[-3000:]
    saved = Path((tmp_path / 'run/last_checkpoint').read_text())
    assert load_checkpoint(saved)['meta']['iter'] % 10 == 0  # where the processes agreed
