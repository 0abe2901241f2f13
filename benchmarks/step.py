#!/usr/bin/env python
"""What a pretraining step costs beside the bare backbone work.

Bare work is what no momentum-contrast method can avoid: the query's forward and backward pass and the
key's forward pass through the backbone, channels-last. The step adds projectors, matching, both losses
against their queues, enqueuing, the optimiser and the momentum update. Contestants take turns in each
round, so that a noisy machine disturbs all of them alike. On a GPU the last column is the most memory that a
step adds.

    python benchmarks/step.py --arch resnet18 --size 128 --batch 16 --queue 65536 [--detco] [--peer]

``--detco`` adds DetCo and the bare work of its encodings: two images, and nine patches of ``--patch`` px for
each of them.
``--peer`` adds mmpretrain's DenseCL, after: pip install --no-deps mmpretrain==1.2.0 model-index ordered-set
mat4py einops "importlib_metadata<8.6".
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

import densecl.registry
from densecl.engine.one_line import call
from densecl.structures import Views

PATCHES = 9  # of DetCo


def build(arch: str, queue: int, method: str) -> torch.nn.Module:
    """MoCo v2, DenseCL or DetCo."""
    width = 512 if arch in ('resnet18', 'resnet34') else 2048
    objective = dict(type='InfoNCE', temperature=0.2, queue=queue, dim=128)
    levels = dict(c2=0, c3=1, c4=2, c5=3)
    detco = dict(
        units=dict(type='Patches', patches=PATCHES, levels=levels),
        projector=dict(
            type='LevelProjectors',
            names=list(levels),
            channels=tuple(width // 2**i for i in (3, 2, 1, 0)),
            patches=PATCHES,
        ),
        objective=objective,
        pairs=[
            dict(query=(f'{q}_{c}', 0), key=(f'{k}_{c}', 1), weight=weight)
            for c, weight in zip(levels, (0.1, 0.4, 0.7, 1.0), strict=True)
            for q, k in (('global', 'global'), ('local', 'local'), ('local', 'global'))
        ],
    )
    heads = dict(image=dict(projector=dict(type='MLP', channels=(width, width, 128)), objective=objective))
    if method == 'DetCo':
        heads = dict(detco=detco)
    if method == 'DenseCL':
        heads['dense'] = dict(
            units='Cells',
            projector=dict(type='ConvMLP', channels=(width, width, 128)),
            matching='MostSimilar',
            objective=objective,
        )
    model = densecl.registry.MODELS.build(
        dict(
            type='MomentumPretrainer',
            backbone=dict(
                type='TorchvisionResNet',
                arch=arch,
                out_indices=(0, 1, 2, 3) if method == 'DetCo' else (3,),
            ),
            heads=heads,
            join_views=method == 'DetCo',
            _scope_='densecl',
        )
    )
    model.init_target()
    return model.to(memory_format=torch.channels_last).train()


def make_views(images: list[torch.Tensor]) -> Views:
    """Views of a batch, already on the device."""
    n, count, device = len(images[0]), len(images), images[0].device
    return Views(
        images=images,
        boxes=[torch.zeros(n, 4, device=device)] * count,
        flipped=[torch.zeros(n, dtype=torch.bool, device=device)] * count,
        source_sizes=torch.ones(n, 2, device=device),
        indices=torch.arange(n, device=device),
        paths=[''] * n,
        photometric=[None] * count,
    )


def full_step(model, views, optimizer, autocast) -> Callable[[], None]:
    """One optimiser step, as the runner does it."""

    def step() -> None:
        with autocast():
            losses = model(views, mode='loss')
        sum(v for k, v in losses.items() if k.startswith('loss')).backward()
        optimizer.step()
        optimizer.zero_grad()
        model.after_optimizer_step()

    return step


def peer_step(arch: str, queue: int, images, autocast) -> Callable[[], None]:
    """One optimiser step of mmpretrain's DenseCL; its loss moves the target and fills the queues."""
    import mmpretrain.models  # noqa: F401
    from mmpretrain.registry import MODELS

    width = 512 if arch in ('resnet18', 'resnet34') else 2048
    widths = dict(in_channels=width, hid_channels=width, out_channels=128)
    model = MODELS.build(
        dict(
            type='DenseCL',
            queue_len=queue,
            backbone=dict(type='ResNet', depth=int(arch.removeprefix('resnet')), norm_cfg=dict(type='BN')),
            neck=dict(type='DenseCLNeck', num_grid=None, **widths),
            head=dict(type='ContrastiveHead', loss=dict(type='CrossEntropyLoss'), temperature=0.2),
            _scope_='mmpretrain',
        )
    )
    model = model.to(images[0].device, memory_format=torch.channels_last).train()
    optimizer = sgd(model)

    def step() -> None:
        with autocast():
            losses = model.loss(images, [])
        sum(losses.values()).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def sgd(model) -> torch.optim.Optimizer:
    """The recipe's optimiser."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.SGD(parameters, lr=1e-4, momentum=0.9, weight_decay=1e-4)


def bare_step(model, queries, keys, autocast) -> Callable[[], None]:
    """The backbone work alone: a pass for each batch of images, with gradient for the queries."""

    def step() -> None:
        with autocast():
            features = [model.backbone(images)[-1] for images in queries]
            with torch.no_grad():
                for images in keys:
                    model.target.backbone(images)
        sum(x.float().mean() for x in features).backward()
        model.backbone.zero_grad()

    return step


def measure(contestants: dict[str, Callable], rounds: int, warmup: int, cuda: bool) -> dict:
    """Median seconds a call, contestants alternating, and the most bytes a call adds on the GPU."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    memory = dict.fromkeys(contestants, 0)
    for i in range(rounds + warmup):
        for name, step in contestants.items():
            if cuda:
                torch.cuda.reset_peak_memory_stats()
            start, before = time.perf_counter(), torch.cuda.memory_allocated() if cuda else 0
            step()
            if cuda:
                torch.cuda.synchronize()
            if i >= warmup:
                times[name].append(time.perf_counter() - start)
                if cuda:
                    memory[name] = max(memory[name], torch.cuda.max_memory_allocated() - before)
    return {name: (statistics.median(t), memory[name]) for name, t in times.items()}


def random_images(count: int, size: int, device: str) -> torch.Tensor:
    """(B, 3, H, W) in the layout of the training."""
    images = torch.randn(count, 3, size, size, device=device)
    return images.contiguous(memory_format=torch.channels_last)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--arch', default='resnet18')
    parser.add_argument('--size', type=int, default=128)
    parser.add_argument('--batch', type=int, default=16)
    parser.add_argument('--queue', type=int, default=65536)
    parser.add_argument('--rounds', type=int, default=15)
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--amp', choices=['none', 'bf16', 'fp16'], default='none')
    parser.add_argument('--detco', action='store_true', help='add DetCo and the bare work of its encodings')
    parser.add_argument('--patch', type=int, default=64, help="side of DetCo's patches in pixels")
    parser.add_argument('--peer', action='store_true', help="add mmpretrain's DenseCL")
    args = parser.parse_args()
    cuda = args.device.startswith('cuda')
    dtype = torch.bfloat16 if args.amp == 'bf16' else torch.float16

    def autocast():
        return torch.autocast(args.device.split(':')[0], dtype=dtype, enabled=args.amp != 'none')

    images = [random_images(args.batch, args.size, args.device) for _ in range(2)]
    views = make_views(images)
    contestants = {}
    for method in ('MoCo v2', 'DenseCL'):
        model = build(args.arch, args.queue, method).to(args.device)
        if method == 'MoCo v2':
            contestants['bare'] = bare_step(model, images[:1], images[1:], autocast)
        contestants[method] = full_step(model, views, sgd(model), autocast)
    if args.detco:
        patches = [random_images(args.batch, args.patch, args.device) for _ in range(2 * PATCHES)]
        model = build(args.arch, args.queue, 'DetCo').to(args.device)
        query, key = (
            [image, torch.cat(patches[i * PATCHES : (i + 1) * PATCHES])] for i, image in enumerate(images)
        )
        contestants['bare + patches'] = bare_step(model, query, key, autocast)
        contestants['DetCo'] = full_step(model, make_views(images + patches), sgd(model), autocast)
    if args.peer:
        contestants['mmpretrain DenseCL'] = peer_step(args.arch, args.queue, images, autocast)
    medians = measure(contestants, args.rounds, 3, cuda)
    print(f'{args.arch}, {args.size} px, batch {args.batch}, queue {args.queue}, {args.device}')
    for name, (seconds, memory) in medians.items():
        bare = 'bare + patches' if name in ('bare + patches', 'DetCo') else 'bare'
        line = f'{name:20s} {1e3 * seconds:8.1f} ms  {seconds / medians[bare][0]:.2f} x {bare:14s}'
        print(line + (f' {memory / 2**20:7.0f} MiB' if cuda else ''))


if __name__ == '__main__':
    call(main)
