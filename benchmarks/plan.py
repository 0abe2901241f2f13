#!/usr/bin/env python
"""What ``densecl plan`` says of recipes, as a table, and beside it what a GPU measures.

    python benchmarks/plan.py configs/pixpro/pixpro_resnet50_8xb128-coslr-100e_in1k.py --measure --csv gpu.csv
    python benchmarks/plan.py configs/pixpro/pixpro_resnet50_8xb128-coslr-100e_in1k.py --compile
    python benchmarks/plan.py --all --markdown docs/cost.md

Measured are real steps (losses, gradients, optimiser, target) on views that are on the device already, of one
process alone. Where there is no GPU the rows say so.
"""

import argparse
import csv
import re
import time
from pathlib import Path

import torch
from mmengine.optim import build_optim_wrapper

from densecl.engine.launch import read_config, use_compile
from densecl.engine.one_line import call
from densecl.planning import GPUS
from densecl.planning.counting import DTYPES, Step, StepCost
from densecl.planning.fake import map_views
from densecl.planning.photos import take_samples
from densecl.planning.resources import GIB, config_gpus, speed

ROOT = Path(__file__).parents[1]
NOT_YET = 'not yet measured'


def official() -> list[Path]:
    """Official recipes; of those that differ in their length or photos alone, the first."""
    found = {}
    for path in sorted((ROOT / 'configs').glob('*/*_in1k.py')):
        found.setdefault(re.sub(r'-\d+e_in1k$', '', path.stem), path)
    fewer_slots = ROOT / 'configs/slotcon/slotcon_resnet50_8xb64-coslr-800e_coco.py'
    return sorted([*found.values(), fewer_slots])


def measured(step: Step, batch: int, precision: str, steps: int) -> tuple[int, float]:
    """Bytes of torch's allocator at the peak, and images/s, on the GPU."""
    torch.cuda.empty_cache()
    torch.backends.cudnn.benchmark = True
    times = batch // len(step.views.indices)
    views = map_views(step.views, times, lambda x: x.repeat(times, *[1] * (x.ndim - 1)).cuda())
    views.images = [x.contiguous(memory_format=torch.channels_last) for x in views.images]
    model = step.model.cuda()
    for parameter in model.parameters():  # not drawn when it was built
        parameter.data.normal_(std=0.02)
    wrapper = build_optim_wrapper(model, step.optim_wrapper)
    wrapper.measure = False
    dtype = DTYPES[precision]

    def run(count: int) -> float:
        torch.cuda.synchronize()
        begin = time.perf_counter()
        for _ in range(count):
            with torch.autocast('cuda', dtype=dtype, enabled=dtype is not None):
                losses = model(views, mode='loss')
            sum(value for name, value in losses.items() if name.startswith('loss')).backward()
            model.before_optimizer_step()
            wrapper.step()
            wrapper.zero_grad()
            model.after_optimizer_step()
        torch.cuda.synchronize()
        return time.perf_counter() - begin

    run(4)
    torch.cuda.reset_peak_memory_stats()
    seconds = run(steps)
    return torch.cuda.max_memory_allocated(), steps * batch / seconds


def row(path: Path, args: argparse.Namespace, precision: str) -> dict[str, str | float]:
    """One recipe in one precision: counted, predicted and measured."""
    cfg = read_config(str(path))
    if args.compile:
        use_compile(cfg)
    batch, world = cfg.train_dataloader.batch_size, config_gpus(cfg)
    step = Step(cfg, take_samples(cfg, seconds=0).samples, images=1_281_167)
    way = f'{precision}, compiled' if args.compile else precision
    found: dict[str, str | float] = dict(recipe=path.stem, batch=batch, gpus=world, precision=way)
    if not args.measure_only:
        found |= predicted(step.count(batch, precision, world), step.count(batch, precision), args.gpu)
    if args.measure and torch.cuda.is_available():
        try:
            memory, rate = measured(step, batch, precision, args.steps)
            figures = round(memory / GIB, 2), round(rate)
        except torch.OutOfMemoryError:
            figures = ('out of memory',) * 2
        names = ('GiB measured', 'images/s measured', 'on')
        found |= dict(zip(names, (*figures, torch.cuda.get_device_name()), strict=True))
    elif args.measure:
        found |= {'GiB measured': NOT_YET, 'images/s measured': NOT_YET, 'on': ''}
    return found


def predicted(cost: StepCost, alone: StepCost, gpu: str) -> dict[str, str | float]:
    """Of a process among others, and of one alone, which is what is measured."""
    low, high = speed(alone, GPUS[gpu])
    return {
        'M parameters': round(cost.parameters / 1e6, 1),
        'GFLOP a photo': round(cost.counter.flops / cost.batch / 1e9, 1),
        'GiB': round(cost.peak / GIB, 2),
        'GiB alone': round(alone.peak / GIB, 2),
        'MB sent': round(sum(cost.wire.values()) / 1e6),
        f'images/s {gpu}, from': round(low),
        'to': round(high),
    }


def markdown(rows: list[dict]) -> str:
    """A table."""
    names = list(rows[0])
    lines = [
        names,
        ['---'] * len(names),
        *(
            [f'{value:,}' if isinstance(value, (int, float)) else value for value in each.values()]
            for each in rows
        ),
    ]
    return '\n'.join(f'| {" | ".join(map(str, line))} |' for line in lines)


def main() -> None:
    """Print, and write where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('configs', nargs='*', type=Path)
    parser.add_argument('--all', action='store_true', help='every official recipe')
    parser.add_argument('--amp', nargs='+', choices=list(DTYPES), default=['bf16'])
    parser.add_argument('--gpu', choices=list(GPUS), default='h100')
    parser.add_argument('--measure', action='store_true', help='run real steps on the GPU')
    parser.add_argument('--measure-only', action='store_true', help='count nothing')
    parser.add_argument(
        '--compile', action='store_true', help='backbones through torch.compile; only measured'
    )
    parser.add_argument('--steps', type=int, default=10)
    parser.add_argument('--csv', type=Path)
    parser.add_argument('--markdown', type=Path, help='put the table between the marks of this file')
    args = parser.parse_args()
    args.measure_only |= args.compile  # what is counted does not change
    args.measure |= args.measure_only
    rows = []
    for path in args.configs or (official() if args.all else parser.error('name configs, or --all')):
        for precision in args.amp:
            try:
                rows.append(row(path, args, precision))
            except ValueError as error:
                print(f'{path.stem}: {error}', flush=True)
                continue
            print('  '.join(f'{name} {value}' for name, value in rows[-1].items()), flush=True)
            if args.csv:
                write_csv(rows, args.csv)
    if args.markdown:
        text = args.markdown.read_text()
        if not rows or '<!-- table -->\n' not in text or '<!-- end -->\n' not in text:
            parser.error(f'{args.markdown}: no row was counted, or <!-- table --> or <!-- end --> is missing')
        head, _, rest = text.partition('<!-- table -->\n')
        tail = rest.partition('<!-- end -->\n')[2]
        args.markdown.write_text(f'{head}<!-- table -->\n{markdown(rows)}\n<!-- end -->\n{tail}')


def write_csv(rows: list[dict], path: Path) -> None:
    """All rows so far."""
    with open(path, 'w', newline='') as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == '__main__':
    call(main)
