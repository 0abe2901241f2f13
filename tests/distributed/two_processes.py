"""Run by test_two_processes.py: one pretraining step, results to a file."""

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from densecl.distributed import world_size
from densecl.models.pretrainers import MomentumPretrainer
from densecl.planning.wire import WireCounter
from densecl.structures import Views
from tests.distributed.steps import own
from tests.models.heads.made import views_of


def build() -> MomentumPretrainer:
    torch.manual_seed(0)
    objective = dict(type='densecl.InfoNCE', queue=13, dim=8)
    model = MomentumPretrainer(
        backbone=dict(type='densecl.TorchvisionResNet', arch='resnet18'),
        heads=dict(
            image=dict(
                units='densecl.Image',
                projector=dict(type='densecl.MLP', channels=(512, 8)),
                objective=objective,
            ),
            dense=dict(
                units='densecl.Cells',
                projector=dict(type='densecl.ConvMLP', channels=(512, 8)),
                matching='densecl.MostSimilar',
                objective=objective,
            ),
        ),
        shuffle_bn=True,
    )
    model.init_weights()
    model = model.double().train()
    # Batch statistics fixed: only then can half batches equal the whole one.
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    return model


def views(part: slice) -> Views:
    generator = torch.Generator().manual_seed(1)
    images = [torch.randn(6, 3, 64, 64, dtype=torch.float64, generator=generator) for _ in 'ab']
    return views_of([x[part] for x in images], indices=torch.arange(6)[part])


def everything() -> dict:
    model = build()
    wrapped = DistributedDataParallel(model, broadcast_buffers=False) if world_size() > 1 else model
    losses = wrapped(views(own(6)), mode='loss')
    loss = losses['loss_image'] + losses['loss_dense']
    with WireCounter() as wire:
        loss.backward()
    total = loss.detach().clone()
    dist.all_reduce(total)
    state = dict(
        loss=total / world_size(),
        gradients={n: p.grad for n, p in model.named_parameters() if p.grad is not None},
        sent=dict(wire.bytes),
        queues={n: b for n, b in model.named_buffers() if '.queue.' in n},
    )
    return state
