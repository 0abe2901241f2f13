"""Objectives on cells: two gloo processes with half a batch equal one with the whole."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import torch

SCRIPT = Path(__file__).with_name('cells.py')


def two_processes(out: Path) -> list[dict]:
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone']
    command += ['--nproc_per_node=2', str(SCRIPT), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(f'{out}.{r}', weights_only=True) for r in range(2)]


def one_process() -> dict:
    spec = importlib.util.spec_from_file_location('cells', SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script.everything()


def test_losses_gradients_and_queue(tmp_path):
    """However unevenly the positives are spread over the processes."""
    one, two = one_process(), two_processes(tmp_path / 'out')
    assert len(one) == 3
    for mine in two:
        for name, expected in one.items():
            assert mine[name].keys() == expected.keys()
            for key, value in expected.items():
                torch.testing.assert_close(
                    mine[name][key], value, rtol=1e-10, atol=1e-12,
                    msg=lambda m, n=f'{name}.{key}': f'{n}: {m}',
                )  # fmt: skip
    assert all(float(found['gradient0'].norm()) > 1e-3 for found in one.values())
    assert int(one['queue']['queue.enqueued']) == 8
