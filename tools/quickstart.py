#!/usr/bin/env python
"""The whole road on the bundled photos: from ImageNet weights, go on without labels, fine-tune, compare.

Two tasks, blood cells (boxes) and things against background (masks), are learned from the ImageNet weights
and from the continued ones, with the same seed. Every command is printed before it runs, to be copied. On two
CPU cores it takes ten to twelve minutes.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(os.path.relpath(Path(__file__).resolve().parents[1]))  # short in what is printed
SAMPLE = ROOT / 'densecl/sample'
CONFIG = ROOT / 'configs/quickstart/anchor_lite0_sample.py'
TASKS = {  # name -> what is learned, and for how long
    'cells': ['--data', SAMPLE / 'bccd/instances_train.json', '--iters', 200],
    'things': ['--data', SAMPLE / 'things', '--images', SAMPLE / 'detection', '--iters', 150],
}


def run(*commands: list, logs: list[Path] | None = None) -> None:
    """Run commands side by side, sharing the cores, and stop everything if one fails."""
    cores = max((os.cpu_count() or 1) // len(commands), 1)
    environment = {**os.environ, 'OMP_NUM_THREADS': str(cores)}
    begin, running = time.time(), []
    for command, log in zip(commands, logs or [None] * len(commands), strict=True):
        words = ['-m', 'densecl', *map(str, command)]
        print(f'\n$ python {shlex.join(words)}' + (f' > {log}' if log else ''), flush=True)
        out = open(log, 'w') if log else None  # noqa: SIM115  (closed with the process)
        pipes = dict(stdout=out, stderr=out and subprocess.STDOUT)
        running.append(subprocess.Popen([sys.executable, *words], env=environment, **pipes))
    codes = [process.wait() for process in running]
    if any(codes):
        where = ', '.join(map(str, logs)) if logs else 'the message above'
        sys.exit(f'a command failed (exit codes {codes}); see {where}')
    print(f'({time.time() - begin:.0f} s)', flush=True)


def main() -> None:
    """Run the steps and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/quickstart'))
    work = parser.parse_args().work_dir
    begin = time.time()

    continued = work / 'continued'
    run(['train', CONFIG, '--work-dir', continued])
    guard = json.loads((continued / 'guard.json').read_text())
    print(f'\nguard: {guard["told"]}', flush=True)

    starts = {'start': 'imagenet', 'continued': continued}
    figures = {name: {} for name in starts}
    for task, options in TASKS.items():
        folders = {name: work / f'{task}_{name}' for name in starts}
        for folder in folders.values():
            folder.mkdir(parents=True, exist_ok=True)
        options = [*options, '--size', 'slim', '--out']
        commands = [['finetune', starts[name], *options, folder] for name, folder in folders.items()]
        run(*commands, logs=[folder / 'output.log' for folder in folders.values()])
        for name, folder in folders.items():
            figures[name] |= json.loads((folder / 'metrics.json').read_text())
        contact_sheet(*folders.values(), work / 'pictures' / f'{task}.png')

    print(f'\n{"":16s} ImageNet  continued')
    for key, value in figures['start'].items():
        print(f'{key:16s} {value:8.1f}  {figures["continued"][key]:9.1f}')
    print(f'\nPictures: {work / "pictures"}. Finished in {(time.time() - begin) / 60:.1f} minutes.')


def contact_sheet(start: Path, continued: Path, path: Path, count: int = 6) -> None:
    """Ground truth, prediction from the start and from the continued weights, an image a row."""
    import cv2

    from densecl.visualization.canvas import GAP, save_image, side_by_side, stacked, titled

    rows, titles = [], ('', 'from ImageNet weights', 'from continued weights')
    for name in sorted(path.name for path in (start / 'pictures').glob('*.png'))[:count]:
        first, second = (cv2.imread(str(run / 'pictures' / name))[..., ::-1] for run in (start, continued))
        middle = (first.shape[1] + GAP) // 2  # truth and prediction stand side by side
        tiles = (first[:, : middle - GAP], first[:, middle:], second[:, middle:])
        rows.append(side_by_side([titled(tile, title) for tile, title in zip(tiles, titles, strict=True)]))
    print(f'picture: {save_image(path, stacked(rows))}', flush=True)


if __name__ == '__main__':
    main()
