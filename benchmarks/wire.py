"""Bytes that a rank sends in a training step, by collective, as a Markdown table: counted, nothing is sent.

python benchmarks/wire.py [--world 8] [--images 32] [CONFIG ...]

Forward and backward run on fake tensors, in a fake process group that plays the other ranks. Views are made
of bundled photos by the config's own pipeline. What DistributedDataParallel adds, every gradient in float32,
is the last column.
"""

import argparse
from pathlib import Path

from densecl.engine.launch import read_config
from densecl.engine.one_line import call
from densecl.planning.counting import Step
from densecl.planning.photos import take_samples

CONFIGS = Path(__file__).parents[1] / 'configs'
OFFICIAL = (
    'mocov2/mocov2_resnet50_8xb32-coslr-200e_in1k',
    'densecl/densecl_resnet50_8xb32-coslr-200e_in1k',
    'detco/detco_resnet50_8xb32-coslr-200e_in1k',
    'resim/resim-fpn_resnet50_8xb32-coslr-200e_in1k',
    'vicreg/vicreg_resnet50_8xb64-coslr-100e_in1k',
    'vicregl/vicregl_resnet50_8xb64-coslr-100e_in1k',
)
COLLECTIVES = ('all_gather', 'all_to_all', 'reduce_scatter', 'all_reduce', 'send')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('configs', nargs='*', type=Path, help='by default official recipes')
    parser.add_argument('--world', type=int, default=8, help='ranks (%(default)s)')
    parser.add_argument('--images', type=int, default=32, help='of a rank (%(default)s)')
    args = parser.parse_args()
    print(f'MB that a rank sends in a step, {args.world} ranks, {args.images} images a rank.\n')
    print('| recipe |', ' | '.join(COLLECTIVES), '| together | calls | gradients |')
    print('|---|' + '---:|' * (len(COLLECTIVES) + 3))
    for path in args.configs or [CONFIGS / f'{name}.py' for name in OFFICIAL]:
        cfg = read_config(str(path))
        step = Step(cfg, take_samples(cfg, count=1, seconds=0).samples, images=1000)
        cost = step.count(args.images, world=args.world)
        gradients = cost.wire.pop('gradients')
        figures = [cost.wire.get(name, 0) for name in COLLECTIVES] + [sum(cost.wire.values())]
        cells = [f'{x / 1e6:.1f}' for x in figures]
        cells += [str(cost.collectives), f'{gradients / 1e6:.0f}']
        print(f'| {path.parent.name} |', ' | '.join(cells), '|', flush=True)


if __name__ == '__main__':
    call(main)
