"""Do memory, descriptors, threads, the time of a step and the log stay level over a long run?

python benchmarks/soak.py --steps 20000 --out soak.csv

DenseCL on tiny images, with a data worker that begins anew every epoch, guard, collapse watch and rotating
checkpoints. The table has a line each ``--every`` steps; printed is, of the last four fifths, the slope a
thousand steps with its standard error. Time is the process's own on the CPU: other work on the machine does
not count.
"""

import argparse
import csv
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from mmengine.hooks import Hook
from tiny import make_photos, tiny_config

import densecl.registry  # noqa: F401
from densecl.engine import launch
from densecl.engine.one_line import call

#: Name -> unit.
FIGURES = dict(rss='kB', descriptors='', threads='', children='', step_ms='ms', log='bytes', files='')


class Watch(Hook):
    """Reads the figures every some steps, and writes a line of the table at once."""

    priority = 'LOWEST'

    def __init__(self, every: int, out: Path) -> None:
        self.every, self.out, self.rows, self._cpu, self._log = every, out, [], 0.0, 0

    def before_train(self, runner) -> None:
        self._cpu = time.process_time()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """A line of the table."""
        if not self.every_n_train_iters(runner, self.every):
            return
        status = dict(line.split(':', 1) for line in Path('/proc/self/status').read_text().splitlines())
        files = [path for path in Path(runner.work_dir).rglob('*') if path.is_file()]
        log = sum(p.stat().st_size for p in files if p.suffix in ('.log', '.json'))
        cpu = time.process_time()
        children = Path(f'/proc/self/task/{os.getpid()}/children').read_text().split()
        row = dict(
            step=runner.iter + 1,
            rss=int(status['VmRSS'].split()[0]),
            descriptors=len(os.listdir('/proc/self/fd')),
            threads=int(status['Threads']),
            children=len(children),
            step_ms=1000 * (cpu - self._cpu) / self.every,
            log=log - self._log,
            files=len(files),
        )
        self.rows.append(row)
        with self.out.open('a' if len(self.rows) > 1 else 'w', newline='') as file:
            writer = csv.DictWriter(file, row)
            if len(self.rows) == 1:
                writer.writeheader()
            writer.writerow(row)
        self._cpu, self._log = time.process_time(), log


def slope(steps: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Least squares: change a thousand steps, and its standard error."""
    x = (steps - steps.mean()) / 1000
    found = (x @ values) / (x @ x)
    rest = values - values.mean() - found * x
    return float(found), float(np.sqrt(rest @ rest / max(len(x) - 2, 1) / (x @ x)))


def soak(steps: int, every: int, work: Path, out: Path, images: int = 400, batch: int = 2) -> list[dict]:
    """Train so many steps; the table, which ``out`` has too."""
    epochs = -(-steps * batch // images)
    cfg = tiny_config('densecl', make_photos(work / 'photos', images), work / 'run', epochs, batch, workers=1)
    cfg.log_level = 'INFO'
    cfg.default_hooks.logger.interval = 50
    cfg.default_hooks.checkpoint.update(interval=1, max_keep_ckpts=2)
    cfg.custom_hooks = [dict(type='densecl.GuardHook', count=16, cost=None)]
    watch = Watch(every, out)
    runner = launch.build_runner(cfg)
    runner.register_hook(watch)
    for handler in runner.logger.handlers:
        if type(handler).__name__ == 'StreamHandler':
            handler.setLevel('WARNING')
    runner.train()
    return watch.rows


def main() -> None:
    """Soak, write the table, print slopes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--steps', type=int, default=20_000)
    parser.add_argument('--every', type=int, default=100, help='steps between two lines')
    parser.add_argument('--out', type=Path, required=True, help='csv file')
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        rows = soak(args.steps, args.every, Path(work), args.out)
    late = rows[len(rows) // 5 :]
    steps = np.array([row['step'] for row in late], float)
    print(f'{rows[-1]["step"]} steps; peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss} kB')
    for name, unit in FIGURES.items():
        values = np.array([row[name] for row in late], float)
        change, error = slope(steps, values)
        print(f'{name:<12} mean {values.mean():>12.2f} {unit:<5} slope {change:+.4f} +- {error:.4f} / 1000')


if __name__ == '__main__':
    call(main)
