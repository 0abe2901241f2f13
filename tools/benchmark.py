#!/usr/bin/env python
"""Compare weights: frozen probes and fine-tunings over seeds, with intervals; CSV, Markdown and a plot.

    python tools/benchmark.py benchmarks/small.py --seeds 0 1 2 3 4 --jobs 2 --out work_dirs/benchmark \
        --weights "random=random:configs/densecl/densecl_resnet18_1xb64-coslr-6e_photos.py" \
        --weights "DenseCL=work_dirs/densecl/epoch_6.pth" \
        --weights "ImageNet=torchvision:resnet18"
    python tools/benchmark.py --labelled my/train.json --val my/val.json --only frozen tenth --weights ...

Seed i of all weights has the same order of images and the same new layers; weights of several pretrainings
take the files in turn. What is measured already is not measured again, so a run that was cut goes on.
"""

import argparse
import sys
from pathlib import Path

from mmengine.config import DictAction

from densecl.runs import benchmark, benchmark_report


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('tasks', nargs='?', help='config with the tasks, such as benchmarks/small.py')
    parser.add_argument(
        '--labelled', help='a set of your own in place of a config: COCO json, or folder with images/ and '
        'labels/; its tasks are frozen, tenth (of the labels, fine-tuned) and whole',
    )  # fmt: skip
    parser.add_argument('--val', help='another labelled set that --labelled is scored on')
    parser.add_argument(
        '--weights', action='append', required=True,
        help='NAME=FILE, NAME=FILE,FILE (a pretraining a seed), or NAME=random:CONFIG; once for each row',
    )  # fmt: skip
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--only', nargs='+', default=[], help='names of the tasks; all by default')
    parser.add_argument('--against', help='weights that differences are taken from; the first by default')
    parser.add_argument('--jobs', type=at_least_one, default=1, help='processes side by side')
    parser.add_argument('--out', default='work_dirs/benchmark', help='folder of figures, CSV, tables, plot')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='changes of the tasks')
    return parser.parse_args()


def at_least_one(text: str) -> int:
    """A whole number above 0."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f'must be at least 1, got {text}')
    return int(text)


def main() -> int:
    """Measure and write the tables."""
    args = parse_args()
    try:
        tasks = read_tasks(args)
        contenders = [benchmark.Contender.parse(text) for text in args.weights]
        names = [contender.name for contender in contenders]
        if args.against and args.against not in names:
            raise ValueError(f'--against {args.against}: no such weights; there are {", ".join(names)}')
        try:
            code = int(bool(benchmark.benchmark(tasks, contenders, args.seeds, args.out, args.jobs, flushed)))
        except KeyboardInterrupt:
            flushed('benchmark: interrupted; the same command goes on')
            code = 130
        if not any(Path(args.out).glob('cells/*/*/figures.json')):
            return code or 1  # nothing to show; why was told
        flushed(benchmark_report.write(args.out, args.against, names))
    except (OSError, ValueError) as error:
        print(f'benchmark: {error}', file=sys.stderr)
        return 2
    flushed(f'{args.out}: results.csv, results.md, results.png')
    return code


def read_tasks(args: argparse.Namespace) -> dict[str, dict]:
    """Of a config, or of a labelled set."""
    if (args.tasks is None) == (args.labelled is None):
        raise ValueError('give a config with tasks, such as benchmarks/small.py, or --labelled SET')
    if args.labelled is None:
        return benchmark.read_tasks(args.tasks, args.cfg_options, args.only)
    if args.cfg_options:
        raise ValueError('--cfg-options change a config with tasks; --labelled has none')
    return benchmark.tasks_of(args.labelled, args.val, args.only)


def flushed(text: str) -> None:
    """Print at once."""
    print(text, flush=True)


if __name__ == '__main__':
    sys.exit(main())
