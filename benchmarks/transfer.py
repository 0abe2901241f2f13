#!/usr/bin/env python
"""Fine-tune from several initialisations under one recipe and several seeds, and print the table.

    python benchmarks/transfer.py --jobs 2 --seeds 0 1 2 --init random \
        --init "MoCo v2=work_dirs/mocov2/epoch_6.pth" --init "DenseCL=work_dirs/densecl/epoch_6.pth" \
        --task bccd=data/bccd --task camvid=data/camvid

Every cell is mean and standard deviation over the seeds. Runs that are complete are not repeated.
"""

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from densecl.runs.figures import Row, markdown

ROOT = Path(__file__).resolve().parents[1]
TASKS = {  # name -> config, and the annotation file of its evaluator
    'bccd': ('detection/faster-rcnn_r18_fpn_bccd.py', 'instances_val.json'),
    'bccd-4conv1fc': ('detection/faster-rcnn_r18_fpn-bn_4conv1fc-bn_bccd.py', 'instances_val.json'),
    'small-coco': ('detection/mask-rcnn_r18_fpn_small-coco.py', 'instances_val_super12.json'),
    'camvid': ('segmentation/fcn_r18_camvid.py', None),
    'camvid-pixel-contrast': ('segmentation/fcn_r18_camvid_pixel-contrast.py', None),
}
FIGURES = {  # key in the log -> (column, factor)
    'coco/bbox_mAP': ('box AP', 100),
    'coco/bbox_mAP_50': ('box AP50', 100),
    'coco/segm_mAP': ('mask AP', 100),
    'coco/segm_mAP_50': ('mask AP50', 100),
    'mIoU': ('mIoU', 1),
    'aAcc': ('pixel accuracy', 1),
}


def options(task: str, root: str) -> list[str]:
    """Config options that move a task's data to ``root``."""
    moved = [f'{part}_dataloader.dataset.data_root={root}' for part in ('train', 'val', 'test')]
    file = TASKS[task][1]
    return moved + [f'{part}_evaluator.ann_file={root}/{file}' for part in ('val', 'test') if file]


def finetune(config: Path, init: list[str], seed: int, moved: list[str], folder: Path) -> dict:
    """One run of ``tools/train.py`` with the flags ``init``; its last validation figures."""
    done = folder / 'figures.json'
    if done.is_file():
        return json.loads(done.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(ROOT / 'tools/train.py'), str(config), '--work-dir', str(folder)]
    command += [*init, '--cfg-options', f'randomness.seed={seed}', *moved]
    with (folder / 'output.log').open('w') as log:
        environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
        subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=True, env=environment)
    newest = max(folder.glob('*/vis_data/scalars.json'), key=lambda p: p.stat().st_mtime)
    lines = [json.loads(line) for line in newest.read_text().splitlines()]
    figures = {k: v for line in lines for k, v in line.items() if k in FIGURES}
    done.write_text(json.dumps(figures))
    return figures


def table(results: dict[str, list[dict]], seeds: list[int]) -> str:
    """Markdown: a row an initialisation, mean ± standard deviation over seeds."""
    rows = []
    for name, runs in results.items():
        values = {
            column: [run[key] * factor for run in runs if key in run]
            for key, (column, factor) in FIGURES.items()
        }
        rows.append(Row(name, tuple(seeds), 0, {column: each for column, each in values.items() if each}))
    return markdown(rows)


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--init', action='append', required=True, help='random, or NAME=CHECKPOINT')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--jobs', type=int, default=1, help='runs side by side, one core each')
    parser.add_argument('--amp', choices=['bf16', 'fp16'], help='mixed precision for all runs')
    names = ', '.join(TASKS)
    parser.add_argument('--task', action='append', required=True, help=f'NAME=ROOT of {names}')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/transfer'))
    args = parser.parse_args()
    tasks = dict(task.split('=', 1) for task in args.task)
    amp = ['--amp', args.amp] if args.amp else []
    inits = {}
    for init in args.init:
        name, _, checkpoint = init.partition('=')
        inits[name] = [*amp, '--pretrained', checkpoint] if checkpoint else amp
    with ThreadPoolExecutor(args.jobs) as pool:
        futures = {
            (name, seed, task): pool.submit(
                finetune,
                ROOT / 'configs' / TASKS[task][0],
                flags,
                seed,
                options(task, root),
                args.out / task / f'{name}-{seed}',
            )
            for seed in args.seeds  # all initialisations of a seed first: a cut run still compares
            for task, root in tasks.items()
            for name, flags in inits.items()
        }
        results = {
            name: [futures[name, seed, task].result() for seed in args.seeds for task in tasks]
            for name in inits
        }
    print(table(results, args.seeds))


if __name__ == '__main__':
    main()
