"""Bytes that a rank sends in a training step, by collective, as a Markdown table: counted, nothing is sent.

python benchmarks/wire.py [--world 8] [--images 32] [CONFIG ...]

Forward and backward run on fake tensors, in a fake process group that plays the other ranks. Views are made
of bundled photos by the config's own pipeline. What DistributedDataParallel adds, every gradient in float32,
is the last column.
"""

import argparse
from contextlib import contextmanager
from pathlib import Path

import torch.distributed as dist
from mmengine.config import Config
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing._internal.distributed.fake_pg import FakeStore

import densecl.compat

densecl.compat.install()

from densecl.engine.launch import read_config  # noqa: E402
from densecl.planning.counting import Step  # noqa: E402
from densecl.planning.fake import fake_copy, fake_views  # noqa: E402
from densecl.planning.photos import take_samples  # noqa: E402
from densecl.planning.wire import WireCounter  # noqa: E402

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


@contextmanager
def played(world: int):
    """A process group of ``world`` ranks of which only the first is there."""
    dist.init_process_group('fake', store=FakeStore(), rank=0, world_size=world)
    try:
        yield
    finally:
        dist.destroy_process_group()


def step(cfg: Config, images: int, world: int) -> tuple[WireCounter, int]:
    """What a rank sends in forward and backward of ``images`` images, and for gradients of its parameters."""
    real, mode = Step(cfg, take_samples(cfg, seconds=0).samples, images=1000), FakeTensorMode()
    model, views = fake_copy(mode, real.model), fake_views(mode, real.views, times=images // 2)
    with played(world), mode, WireCounter() as wire:
        losses = model(views, mode='loss')
        sum(value for name, value in losses.items() if name.startswith('loss')).backward()
    trained = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    return wire, 2 * trained * (world - 1) // world


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('configs', nargs='*', type=Path, help='by default official recipes')
    parser.add_argument('--world', type=int, default=8, help='ranks (%(default)s)')
    parser.add_argument('--images', type=int, default=32, help='of a rank, an even number (%(default)s)')
    args = parser.parse_args()
    print(f'MB that a rank sends in a step, {args.world} ranks, {args.images} images a rank.\n')
    print('| recipe |', ' | '.join(COLLECTIVES), '| together | calls | gradients |')
    print('|---|' + '---:|' * (len(COLLECTIVES) + 3))
    for path in args.configs or [CONFIGS / f'{name}.py' for name in OFFICIAL]:
        wire, gradients = step(read_config(str(path)), args.images, args.world)
        figures = [wire.bytes.get(name, 0) for name in COLLECTIVES] + [wire.total]
        cells = [f'{x / 1e6:.1f}' for x in figures]
        cells += [str(sum(wire.calls.values())), f'{gradients / 1e6:.0f}']
        print(f'| {path.parent.name} |', ' | '.join(cells), '|', flush=True)


if __name__ == '__main__':
    main()
