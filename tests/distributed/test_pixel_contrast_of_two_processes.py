"""The pixel contrast head: two gloo processes with half a batch equal one with the whole, memory included."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import torch

SCRIPT = Path(__file__).with_name('pixel_contrast.py')


def two_processes(out: Path) -> list[dict]:
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone']
    command += ['--nproc_per_node=2', str(SCRIPT), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(f'{out}.{r}', weights_only=True) for r in range(2)]


def one_process() -> dict:
    spec = importlib.util.spec_from_file_location('pixel_contrast_script', SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script.run()


def test_losses_gradients_and_memory(tmp_path):
    one, two = one_process(), two_processes(tmp_path / 'out')
    for mine in two:
        assert mine.keys() == one.keys()
        for name, expected in one.items():
            torch.testing.assert_close(
                mine[name], expected, rtol=1e-10, atol=1e-11, msg=lambda m, n=name: f'{n}: {m}'
            )
    for name in ('memory.keys', 'memory.pointers', 'memory.enqueued'):  # bit by bit
        assert torch.equal(two[0][name], two[1][name])
    assert int(one['memory.enqueued'].max()) > 5  # a ring has wrapped around
    for step in range(3):
        assert float(one[f'{step}.loss_contrast']) > 0
        assert float(one[f'{step}.gradient0'].norm()) > 0.01
