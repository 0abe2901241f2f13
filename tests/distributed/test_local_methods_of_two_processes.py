"""VICRegL, SetSim and SCRL: two gloo processes equal one with the whole batch, queue included."""

import subprocess
import sys
from pathlib import Path

import torch

SCRIPT = Path(__file__).with_name('local_methods.py')


def run(processes: int, out: Path) -> list[dict]:
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone']
    command += [f'--nproc_per_node={processes}', str(SCRIPT), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(f'{out}.{r}', weights_only=True) for r in range(processes)]


def test_parts_of_the_batch_equal_the_whole(tmp_path):
    (one,) = run(1, tmp_path / 'one')
    two = run(2, tmp_path / 'two')
    for mine in two:
        for method, want in one.items():
            got = mine[method]
            torch.testing.assert_close(got['losses'], want['losses'], rtol=0, atol=1e-10)
            for part in ('gradients', 'state'):
                assert got[part].keys() == want[part].keys()
                for name, value in want[part].items():
                    torch.testing.assert_close(
                        got[part][name], value, rtol=1e-8, atol=1e-10,
                        msg=lambda m, n=f'{method}.{name}': f'{n}: {m}',
                    )  # fmt: skip
    assert two[1]['scrl']['shares'].tolist() == [1, 0, 1]  # a step without a region on one of them
    assert int(one['setsim']['state']['heads.it.objective.queue.enqueued']) == 18
    assert all(g.abs().max() > 0 for m in one.values() for g in m['gradients'].values())
