#!/usr/bin/env python
"""The whole road on the bundled photos of blood cells: from ImageNet weights, go on without labels, compare.

Weights before and after are compared twice: frozen, by a linear and a retrieval probe, and fine-tuned with
the same seed as a detector that has a fifth of the labels. It ends with pictures of what the features see
and a page of the run. Every command is printed before it runs. --short takes every step of it briefly, to
see that an installation works; its figures say nothing.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from densecl.sample import sample_root

ROOT = Path(os.path.relpath(Path(__file__).resolve().parents[1]))  # short in what is printed
CELLS = Path(os.path.relpath(sample_root() / 'bccd'))
TRAIN, VAL = CELLS / 'instances_train.json', CELLS / 'instances_val.json'
CONFIG = ROOT / 'configs/quickstart/anchor_lite0_sample.py'
SHARE, ITERS = 0.2, 200  # of the labelled images, for the detector; its length
SHORT_ITERS, SHORT_SIZE = 10, (64, 64)  # of --short: the detector's length, the side of probed images
SHOWN = ('--count', 4, '--gallery', 24)  # photos of a sheet; those among which neighbours are looked for
SHEETS = {  # pictures of either weights -> tiles of one, name and caption of the sheet
    'probe': (
        3,
        'retrieval.png',
        'Areas named after the most similar areas of labelled photos, from either weights.',
    ),
    'pictures': (
        2,
        'detections.png',
        'What a detector finds after a fifth of the labels, from either weights.',
    ),
}


def run(*commands: list, logs: list[Path] | None = None) -> None:
    """Run commands side by side, sharing the cores, and stop everything if one fails."""
    cores = max((os.cpu_count() or 1) // len(commands), 1)
    environment = {**os.environ, 'OMP_NUM_THREADS': str(cores)}
    begin, running = time.time(), []
    for command, log in zip(commands, logs or [None] * len(commands), strict=True):
        words = list(map(str, command))
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
    parser.add_argument('--short', action='store_true', help='only see that it works: an epoch, ten steps')
    args = parser.parse_args()
    work, begin = args.work_dir, time.time()
    epochs = ['train_cfg.max_epochs=1'] if args.short else []
    size = ['--size', *SHORT_SIZE] if args.short else []
    iters = SHORT_ITERS if args.short else ITERS

    options = ['--cfg-options', 'allow=folder', *epochs]  # a second quickstart writes over the first
    run([ROOT / 'tools/train.py', CONFIG, '--work-dir', work / 'pretrain', *options])
    guard = json.loads((work / 'pretrain/guard.json').read_text())
    print(f'\nguard: {guard["told"]}', flush=True)

    weights = {'ImageNet': work / 'pretrain/start.pth', 'continued': work / 'pretrain/best_dense.pth'}
    folders = {name: work / name for name in weights}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    probes = [
        [ROOT / 'tools/probe.py', weights[name], '--labelled', TRAIN, '--test', VAL]
        + ['--out', folder / 'probe.json', '--pictures', folder / 'probe', *size]
        for name, folder in folders.items()
    ]
    run(*probes, logs=[folder / 'probe.log' for folder in folders.values()])
    detectors = [
        ['-m', 'densecl', 'finetune', weights[name], '--data', TRAIN, '--share', SHARE, '--val', VAL]
        + ['--size', 'slim', '--iters', iters, '--out', folder]
        for name, folder in folders.items()
    ]
    run(*detectors, logs=[folder / 'finetune.log' for folder in folders.values()])

    pretrain, seen = work / 'pretrain', work / 'pretrain/pictures'
    run(['-m', 'densecl', 'show', pretrain, '--photos', CELLS / 'val', '--out', seen, *SHOWN])
    for what, (tiles, name, caption) in SHEETS.items():
        contact_sheet({name: folder / what for name, folder in folders.items()}, tiles, seen / name)
        captions = json.loads((seen / 'captions.json').read_text())
        (seen / 'captions.json').write_text(json.dumps(captions | {name: caption}, indent=1))
    for name, folder in zip(('probe_start.json', 'probe.json'), folders.values(), strict=True):
        shutil.copy(folder / 'probe.json', pretrain / name)
    run(['-m', 'densecl', 'report', pretrain, '--out', work / 'report.html'])
    print(f'\n{"":26s} ' + ' '.join(f'{name:>10s}' for name in folders))
    rows = [figures(folder) for folder in folders.values()]
    for key in rows[0]:
        print(f'{key:26s} ' + ' '.join(f'{row[key]:10.1f}' for row in rows))
    minutes = (time.time() - begin) / 60
    print(f'\nThe page: {work}/report.html. Pictures: {seen}. Finished in {minutes:.1f} minutes.')


def figures(folder: Path) -> dict[str, float]:
    """Name -> per cent, of the probes and of the detector."""
    probed = json.loads((folder / 'probe.json').read_text())
    found = {f'frozen, {kind} mIoU': probed[kind]['mean'] for kind in ('linear', 'retrieval')}
    detected = json.loads((folder / 'metrics.json').read_text())
    return found | {f'fine-tuned, {name}': value for name, value in detected.items()}


def contact_sheet(folders: dict[str, Path], tiles: int, path: Path, count: int = 5) -> None:
    """Truth, then what each of the weights say, an image a row.

    Args:
        folders: name of the weights -> pictures of the same names, of ``tiles`` tiles of which the first is
            the truth and the last is shown.
        tiles: side by side in a picture.
        path: of the sheet.
        count: of rows.
    """
    import cv2
    import numpy as np

    from densecl.visualization.canvas import GAP, save_image, side_by_side, stacked, titled

    titles, rows = ['truth', *(f'from {name} weights' for name in folders)], []
    for name in sorted(path.name for path in next(iter(folders.values())).glob('*.png'))[:count]:
        pictures = [cv2.imread(str(folder / name))[..., ::-1] for folder in folders.values()]
        width = (pictures[0].shape[1] + GAP) // tiles - GAP
        shown = [pictures[0][:, :width], *(picture[:, -width:] for picture in pictures)]
        if not rows:  # the heads of the columns
            blank = np.full((1, width, 3), 255, np.uint8)
            rows.append(side_by_side([titled(blank, title) for title in titles]))
        rows.append(side_by_side(shown))
    print(f'picture: {save_image(path, stacked(rows))}', flush=True)


if __name__ == '__main__':
    main()
