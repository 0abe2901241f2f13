"""Two gloo processes with half a batch each equal one process with the whole: loss, gradients, queues."""

import subprocess
import sys
from pathlib import Path

import torch

SCRIPT = Path(__file__).with_name('two_processes.py')


def run(processes: int, out: Path) -> list[dict]:
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone']
    command += [f'--nproc_per_node={processes}', str(SCRIPT), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(f'{out}.{r}', weights_only=True) for r in range(processes)]


def test_half_batches_on_two_processes_equal_the_whole_batch_on_one(tmp_path):
    (one,) = run(1, tmp_path / 'one')
    two = run(2, tmp_path / 'two')
    assert len(one['gradients']) > 60
    for mine in two:
        torch.testing.assert_close(mine['loss'], one['loss'], rtol=0, atol=1e-9)
        assert mine['gradients'].keys() == one['gradients'].keys()
        for name, gradient in one['gradients'].items():
            torch.testing.assert_close(mine['gradients'][name], gradient, rtol=1e-7, atol=1e-9)
        for name, value in one['queues'].items():
            torch.testing.assert_close(mine['queues'][name], value, rtol=0, atol=1e-9)
    assert int(one['queues']['heads.dense.objective.queue.enqueued']) == 4
