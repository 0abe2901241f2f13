"""Two gloo processes with half a batch give the losses and gradients of one with the whole."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import torch

SCRIPT = Path(__file__).with_name('over_ranks.py')


def two_processes(out: Path) -> list[dict]:
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']
    done = subprocess.run([*command, str(SCRIPT), str(out)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(f'{out}.{r}', weights_only=True) for r in range(2)]


def one_process() -> dict:
    spec = importlib.util.spec_from_file_location('over_ranks', SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script.results()


def test_two_processes_equal_one(tmp_path):
    one = one_process()
    codes, without_exchange = one.pop('codes')
    assert torch.equal(codes, without_exchange)
    for mine in two_processes(tmp_path / 'two'):
        shared, separate = mine.pop('codes')
        torch.testing.assert_close(shared, codes, rtol=0, atol=1e-12)
        assert not torch.allclose(separate, codes, atol=1e-3)
        assert mine.keys() == one.keys()
        for name, expected in one.items():
            for got, want in zip(mine[name], expected, strict=True):
                torch.testing.assert_close(
                    got, want, rtol=0, atol=1e-9, msg=lambda m, name=name: f'{name}: {m}'
                )
