"""Bytes that a rank sends in a training step, by collective, as a Markdown table: counted, nothing is sent.

python benchmarks/wire.py [--world 8] [--images 32] [CONFIG ...]

Forward and backward run on fake tensors, in a fake process group that plays the other ranks. Views are made
of bundled photos by the config's own pipeline. What DistributedDataParallel adds, every gradient in float32,
is the last column.
"""

import argparse
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing._internal.distributed.fake_pg import FakeStore

import densecl.compat
from densecl.datasets import collate_views
from densecl.engine.launch import use_plain_batch_norm
from densecl.planning.wire import WireCounter
from densecl.registry import DATASETS, MODELS
from densecl.sample import sample_root
from densecl.structures import Views

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


def make_views(cfg: Config) -> Views:
    """A batch of two images, as the data preprocessor leaves it."""
    config = cfg.train_dataloader.dataset.copy()
    config.update(data_root=str(sample_root() / 'photos'), source=dict(type='Folder'))
    data = DATASETS.build(config)
    with torch.no_grad():
        batch = collate_views([data[0], data[1]])
        return MODELS.build(cfg.model.get('data_preprocessor') or PREPROCESSOR)(batch, True)['inputs']


PREPROCESSOR = dict(type='PretrainDataPreprocessor')


def enlarged(value, mode: FakeTensorMode, times: int):
    """Every tensor of a record as a fake one, ``times`` as many images."""
    if isinstance(value, torch.Tensor):
        fake = mode.from_tensor(value)
        with mode:
            return fake.repeat(times, *[1] * (value.ndim - 1)).contiguous(memory_format=like(value))
    if isinstance(value, list):
        return [enlarged(x, mode, times) for x in value]
    if isinstance(value, dict):
        return {name: enlarged(x, mode, times) for name, x in value.items()}
    if is_dataclass(value):
        return type(value)(**{f.name: enlarged(getattr(value, f.name), mode, times) for f in fields(value)})
    return value


def like(x: torch.Tensor) -> torch.memory_format:
    """The memory format of a tensor."""
    last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def step(cfg: Config, images: int, world: int) -> tuple[WireCounter, int]:
    """What a rank sends in forward and backward of ``images`` images, and for gradients of its parameters."""
    use_plain_batch_norm(cfg._cfg_dict)
    init_default_scope('densecl')
    mode, views = FakeTensorMode(allow_non_fake_inputs=True), make_views(cfg)
    views.photometric, views.paths = [None] * len(views.images), views.paths * (images // 2)
    with torch.device('meta'):  # shapes alone: DetCo has 1.9 GB of weights, and a target
        model = MODELS.build(cfg.model).train()
    with mode:
        model.to_empty(device='cpu')
    model.clock.total = model.clock.epoch = 1000
    views = enlarged(views, mode, images // 2)
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
    densecl.compat.install()
    print(f'MB that a rank sends in a step, {args.world} ranks, {args.images} images a rank.\n')
    print('| recipe |', ' | '.join(COLLECTIVES), '| together | calls | gradients |')
    print('|---|' + '---:|' * (len(COLLECTIVES) + 3))
    for path in args.configs or [CONFIGS / f'{name}.py' for name in OFFICIAL]:
        wire, gradients = step(Config.fromfile(path), args.images, args.world)
        figures = [wire.bytes.get(name, 0) for name in COLLECTIVES] + [wire.total]
        cells = [f'{x / 1e6:.1f}' for x in figures]
        cells += [str(sum(wire.calls.values())), f'{gradients / 1e6:.0f}']
        print(f'| {path.parent.name} |', ' | '.join(cells), '|', flush=True)


if __name__ == '__main__':
    main()
