#!/usr/bin/env python
"""Pretrain with several configs under equal short settings, classify by nearest features: a table.

    python benchmarks/knn_table.py --train data/grocery/train --test data/grocery/test \
        --pretrain data/photos --epochs 6 --size 96 --batch 64 --seeds 0 1 2 \
        --config MoCo-v2=configs/mocov2/mocov2_resnet18_1xb64-coslr-6e_photos.py --config ...

``--train`` and ``--test`` have one folder a class. Methods that need labels pretrain on ``--train``;
the others on ``--pretrain``, or on ``--train`` as well. For each backbone among the configs there is a
row of random initialisations. Runs that are complete are not repeated.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mmengine.config import Config

from densecl.engine.launch import read_config
from densecl.engine.one_line import call

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = ('top1', 'mean_class')


def short_config(path: str, args: argparse.Namespace, seed: int) -> Config:
    """The method's config with the data, length, view size, batch and seed of the comparison."""
    cfg = read_config(path)
    loader = cfg.train_dataloader
    labelled = loader.dataset.source.type == 'ImageNet'
    loader.dataset.data_root = str(args.train if labelled else args.pretrain or args.train)
    loader.update(num_workers=args.workers, persistent_workers=args.workers > 0, pin_memory=False)
    if args.batch:
        loader.batch_size = args.batch
    if args.size:
        resize_views(loader.dataset.pipeline[-1].views, args.size)
    if args.epochs:
        shorten(cfg, args.epochs)
    cfg.randomness = dict(seed=seed)
    cfg.default_hooks.checkpoint.update(interval=cfg.train_cfg.max_epochs, max_keep_ckpts=1)
    return cfg


def resize_views(views: list[dict], size: int) -> None:
    """Make the largest views ``size`` px, others in proportion (multiples of 8); puzzles stay."""
    plain = [view for view in views if 'size' in view]
    largest = max(view['size'] for view in plain)
    for view in plain:
        view['size'] = max(8, round(view['size'] * size / largest / 8) * 8)


def shorten(cfg: Config, epochs: int) -> None:
    """Run ``epochs`` epochs, every part of the learning rate's schedule in proportion."""
    share = epochs / cfg.train_cfg.max_epochs
    cfg.train_cfg.max_epochs = epochs
    for scheduler in cfg.get('param_scheduler') or []:
        for key in ('T_max', 'begin', 'end'):
            if scheduler.get(key):
                scheduler[key] = max(1, round(scheduler[key] * share))
        if 'milestones' in scheduler:
            scheduler.milestones = [round(m * share) for m in scheduler.milestones]


def run_tool(tool: str, log: Path, *arguments) -> None:
    """Run a tool in a process of its own; an error names its log."""
    command = [sys.executable, str(ROOT / 'tools' / tool), *map(str, arguments)]
    with log.open('w') as file:
        environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
        done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
    if done.returncode:
        raise RuntimeError(f'{tool} ended with {done.returncode}; see {log}')


def evaluate(args: argparse.Namespace, folder: Path, *what) -> dict:
    """Figures of ``tools/knn.py``, kept in ``folder``."""
    out = folder / 'knn.json'
    if not out.is_file():
        images = ['--train', args.train, '--test', args.test, '--workers', args.workers]
        options = ['--k', *args.k, '--size', args.eval_size or args.size or 96, '--out', out]
        run_tool('knn.py', folder / 'knn.log', *what, *images, *options)
    return json.loads(out.read_text())['knn']


def pretrained(args: argparse.Namespace, name: str, path: str, seed: int) -> dict | None:
    """Pretrain and evaluate once; None, and a line on what went wrong, where it failed."""
    folder = args.out / f'{name}-{seed}'
    folder.mkdir(parents=True, exist_ok=True)
    cfg = short_config(path, args, seed)
    checkpoint = folder / f'epoch_{cfg.train_cfg.max_epochs}.pth'
    try:
        if not checkpoint.is_file():
            cfg.dump(folder / 'short.py')
            options = ['--amp', args.amp] if args.amp else []
            options += ['--cfg-options', 'allow=folder']  # of a run that was cut
            run_tool('train.py', folder / 'train.log', folder / 'short.py', '--work-dir', folder, *options)
        return evaluate(args, folder, checkpoint, '--branch', args.branch)
    except RuntimeError as error:
        print(f'{name}, seed {seed}: {error}', file=sys.stderr)
        return None


def untrained(args: argparse.Namespace, path: str, seed: int) -> dict:
    """Evaluate one random initialisation of a config's backbone."""
    folder = args.out / f'random-{Path(path).stem}-{seed}'
    folder.mkdir(parents=True, exist_ok=True)
    return evaluate(args, folder, 'random', '--config', path, '--seed', seed)


def backbones(configs: dict[str, str]) -> dict[str, str]:
    """Row name -> config, one of each backbone among the configs."""
    first = {}
    for name, path in configs.items():
        first.setdefault(str(read_config(path).model.backbone), (name, path))
    if len(first) == 1:
        return {'random initialisation': next(iter(first.values()))[1]}
    return {f"random, {name}'s backbone": path for name, path in first.values()}


def rows(results: dict[str, list[dict]], k: list[int]) -> list[dict]:
    """Mean and standard deviation over the seeds, a row a method."""
    table = []
    for name, runs in results.items():
        row = {'pretraining': name, 'runs': len(runs)}
        for n in k:
            for column in COLUMNS:
                values = [run[str(n)][column] for run in runs]
                row[f'{column} k={n}'] = statistics.mean(values)
                row[f'{column} k={n} std'] = statistics.stdev(values) if len(values) > 1 else 0.0
        table.append(row)
    return table


def markdown(table: list[dict], k: list[int]) -> str:
    """The rows as a Markdown table."""
    titles = {'top1': 'top-1', 'mean_class': 'mean of classes'}
    columns = [(column, n) for n in k for column in COLUMNS]
    lines = ['| pretraining | ' + ' | '.join(f'{titles[c]}, k = {n}' for c, n in columns) + ' | runs |']
    lines.append('|---' * (len(columns) + 2) + '|')
    for row in table:
        cells = [f'{row[f"{c} k={n}"]:.1f}' for c, n in columns]
        if row['runs'] > 1:
            spreads = (row[f'{c} k={n} std'] for c, n in columns)
            cells = [f'{c} ± {s:.1f}' for c, s in zip(cells, spreads, strict=True)]
        lines.append(f'| {row["pretraining"]} | ' + ' | '.join(cells) + f' | {row["runs"]} |')
    return '\n'.join(lines)


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--config', action='append', required=True, help='NAME=CONFIG')
    parser.add_argument('--train', type=Path, required=True, help='known classes, one folder each')
    parser.add_argument('--test', type=Path, required=True, help='images to classify, likewise')
    parser.add_argument('--pretrain', type=Path, help='images to pretrain on')
    parser.add_argument('--epochs', type=int, help="instead of each config's own")
    parser.add_argument('--size', type=int, help='of the largest views, likewise')
    parser.add_argument('--batch', type=int, help='likewise')
    parser.add_argument('--eval-size', type=int, help='of the centre crops (--size, or 96)')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0])
    parser.add_argument('--random-seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--branch', choices=('auto', 'online', 'target'), default='auto')
    parser.add_argument('--k', type=int, nargs='+', default=[1, 10, 20])
    parser.add_argument('--jobs', type=int, default=1, help='runs side by side, one core each')
    parser.add_argument('--workers', type=int, default=1, help='data workers of a run')
    parser.add_argument('--amp', choices=('bf16', 'fp16'), help='mixed precision while pretraining')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/knn'))
    return parser.parse_args()


def main() -> None:
    """Run what is missing, write ``table.csv`` and ``table.md``, print the latter."""
    args = parse_args()
    configs = dict(entry.split('=', 1) for entry in args.config)
    fresh = backbones(configs)
    with ThreadPoolExecutor(args.jobs) as pool:
        runs = {n: [pool.submit(untrained, args, p, s) for s in args.random_seeds] for n, p in fresh.items()}
        for name, path in configs.items():
            runs[name] = [pool.submit(pretrained, args, name, path, s) for s in args.seeds]
        done = {n: [f.result() for f in futures] for n, futures in runs.items()}
    table = rows({n: kept for n, r in done.items() if (kept := [x for x in r if x])}, args.k)
    with (args.out / 'table.csv').open('w', newline='') as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    (args.out / 'table.md').write_text(markdown(table, args.k) + '\n')
    print(markdown(table, args.k))
    if any(x is None for r in done.values() for x in r):
        sys.exit(1)


if __name__ == '__main__':
    call(main)
