"""tools/slurm_train.sh against stand-ins of Slurm's commands, which note how they were called."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / 'tools/slurm_train.sh'


@pytest.fixture
def slurm(tmp_path):
    """Runs the script; the calls of srun, sbatch and scontrol. sbatch runs what it is given at once."""
    stand_ins = {
        'srun': 'exit ${CODE:-0}',
        'sbatch': 'SLURM_JOB_ID=7 bash -c "$(cat)"',
        'scontrol': '',
    }
    for name, body in stand_ins.items():
        file = tmp_path / name
        file.write_text(f'#!/usr/bin/env bash\necho {name} "$@" >> {tmp_path}/calls\n{body}\n')
        file.chmod(0o755)

    def run(**environment):
        path = f'{tmp_path}{os.pathsep}{os.environ["PATH"]}'
        command = ['bash', str(SCRIPT), 'gpus', 'name', 'my config.py', '--amp']
        done = subprocess.run(command, env={**os.environ, 'PATH': path, 'GPUS': '4', **environment})
        return done.returncode, (tmp_path / 'calls').read_text().splitlines()

    return run


def test_srun_runs_the_training(slurm):
    code, (call,) = slurm(SRUN_ARGS='--exclude=bad')
    assert code == 0
    for part in ('srun', '-p gpus', '--ntasks=4', '--gres=gpu:4', '--exclude=bad', '--launcher slurm --amp'):
        assert part in call
    assert call.endswith('tools/train.py my config.py --launcher slurm --amp')


@pytest.mark.parametrize('code, queued_again', [(0, False), (1, False), (143, True)])
def test_a_batch_job_that_was_stopped_is_queued_again(code, queued_again, slurm):
    done, calls = slurm(REQUEUE='1', CODE=str(code))
    assert done == code
    assert (
        calls[0].startswith('sbatch -p gpus') and '--requeue' in calls[0] and '--signal=TERM@120' in calls[0]
    )
    assert calls[1].endswith('my config.py --launcher slurm --amp --resume auto')
    assert calls[2:] == (['scontrol requeue 7'] if queued_again else [])
