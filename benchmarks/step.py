#!/usr/bin/env python
"""What a pretraining step costs beside the bare backbone work.

Bare work is what no momentum-contrast method can avoid: the query's forward and backward pass and the
key's forward pass through the backbone, channels-last. The step adds projectors, matching, both losses
against their queues, enqueuing, the optimiser and the momentum update. Contestants take turns in each
round, so that a noisy machine disturbs all of them alike.

    python benchmarks/step.py --arch resnet18 --size 128 --batch 16 --queue 65536 [--peer]

``--peer`` adds mmpretrain's DenseCL, after: pip install --no-deps mmpretrain==1.2.0 model-index ordered-set
mat4py einops "importlib_metadata<8.6".
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

import densecl.compat

densecl.compat.install()

import densecl.registry  # noqa: E402
from densecl.structures import Views  # noqa: E402


def build(arch: str, queue: int, dense: bool) -> torch.nn.Module:
    """MoCo v2, or DenseCL."""
    width = 512 if arch in ('resnet18', 'resnet34') else 2048
    objective = dict(type='InfoNCE', temperature=0.2, queue=queue, dim=128)
    heads = dict(
        image=dict(
            type='ImageHead',
            projector=dict(type='MLP', channels=(width, width, 128)),
            objective=objective,
        )
    )
    if dense:
        heads['dense'] = dict(
            type='DenseHead',
            projector=dict(type='ConvMLP', channels=(width, width, 128)),
            matching=dict(type='MostSimilar'),
            objective=objective,
        )
    model = densecl.registry.MODELS.build(
        dict(
            type='MomentumPretrainer',
            backbone=dict(type='TorchvisionResNet', arch=arch),
            heads=heads,
            _scope_='densecl',
        )
    )
    model.init_target()
    return model.to(memory_format=torch.channels_last).train()


def make_views(images: list[torch.Tensor]) -> Views:
    """Two views of a batch, already on the device."""
    n = len(images[0])
    return Views(
        images=images,
        boxes=[torch.zeros(n, 4)] * 2,
        flipped=[torch.zeros(n, dtype=torch.bool)] * 2,
        source_sizes=torch.ones(n, 2),
        indices=torch.arange(n),
        paths=[''] * n,
        photometric=[None] * 2,
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


def bare_step(model, views, autocast) -> Callable[[], None]:
    """The backbone work alone."""

    def step() -> None:
        with autocast():
            query = model.backbone(views.images[0])[-1]
            with torch.no_grad():
                model.target.backbone(views.images[1])
        query.float().mean().backward()
        model.backbone.zero_grad()

    return step


def measure(contestants: dict[str, Callable], rounds: int, warmup: int, cuda: bool) -> dict:
    """Median seconds a call, contestants alternating."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for i in range(rounds + warmup):
        for name, step in contestants.items():
            start = time.perf_counter()
            step()
            if cuda:
                torch.cuda.synchronize()
            if i >= warmup:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(t) for name, t in times.items()}


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
    parser.add_argument('--peer', action='store_true', help="add mmpretrain's DenseCL")
    args = parser.parse_args()
    cuda = args.device.startswith('cuda')
    dtype = torch.bfloat16 if args.amp == 'bf16' else torch.float16

    def autocast():
        return torch.autocast(args.device.split(':')[0], dtype=dtype, enabled=args.amp != 'none')

    images = [
        torch.randn(args.batch, 3, args.size, args.size, device=args.device).contiguous(
            memory_format=torch.channels_last
        )
        for _ in range(2)
    ]
    views = make_views(images)
    contestants = {}
    for name, dense in (('MoCo v2', False), ('DenseCL', True)):
        model = build(args.arch, args.queue, dense).to(args.device)
        if not dense:
            contestants['bare'] = bare_step(model, views, autocast)
        contestants[name] = full_step(model, views, sgd(model), autocast)
    if args.peer:
        contestants['mmpretrain DenseCL'] = peer_step(args.arch, args.queue, images, autocast)
    medians = measure(contestants, args.rounds, 3, cuda)
    print(f'{args.arch}, {args.size} px, batch {args.batch}, queue {args.queue}, {args.device}')
    for name, seconds in medians.items():
        print(f'{name:20s} {1e3 * seconds:8.1f} ms  {seconds / medians["bare"]:.2f} x bare')


if __name__ == '__main__':
    main()
