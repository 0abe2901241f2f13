"""Run by test_slots_of_two_processes.py: four steps of SlotCon.

The predictor's batch statistics are over all processes, and there are no others: only then can parts of a
batch equal the whole one. Images differ in whether their views overlap; in the second step the first two
images have no overlap (all of rank 0's, with three ranks), in the third no image has any.
"""

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from densecl.distributed import rank, world_size
from densecl.models.pretrainers import MomentumPretrainer
from densecl.registry import MODELS
from densecl.structures import Views

BATCH, STEPS = 6, 4


@MODELS.register_module()
class Pixelwise(nn.Module):
    """A backbone without batch statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 1)

    def forward(self, x):
        return self.conv(x).tanh()


def views(step: int) -> Views:
    """This rank's part of the batch."""
    generator = torch.Generator().manual_seed(step)
    size = (2, BATCH, 3, 4, 4)
    images = torch.randn(size, dtype=torch.float64, generator=generator)
    near = torch.rand(2, BATCH, 2, dtype=torch.float64, generator=generator) * 20
    far = near + 15 + torch.rand(2, BATCH, 2, dtype=torch.float64, generator=generator) * 20
    boxes = torch.cat([near, far], 2)  # some pairs overlap, others do not
    boxes[1, : {1: 2, 2: BATCH}.get(step, 0)] += 100
    flipped = torch.rand(2, BATCH, generator=generator) < 0.5
    n = BATCH // world_size()
    mine = slice(rank() * n, (rank() + 1) * n)
    return Views(
        images=[x[mine] for x in images],
        boxes=[x[mine] for x in boxes],
        flipped=[x[mine] for x in flipped],
        source_sizes=torch.ones(n, 2),
        indices=torch.arange(n),
        paths=[''] * n,
        photometric=[None] * 2,
    )


def build() -> MomentumPretrainer:
    torch.manual_seed(0)
    head = dict(
        units='densecl.Groups',
        matching=dict(cells='densecl.SharedGrid', slots=dict(type='densecl.SameId', overlap=True)),
        projector=dict(type='densecl.SlotProjector', channels=(12, 9, 5), slots=8, activation='GELU'),
        predictor=dict(type='densecl.MLP', channels=(5, 7, 5), norm=True),
        objective=dict(
            cells=dict(type='densecl.SelfDistillation', prototypes=8, mean='counted'),
            slots=dict(
                type='densecl.InfoNCE', queue=0, batch='units', times_temperature=True, mean='counted'
            ),
        ),
        pairs=[
            dict(query=(kind, q), key=(kind, 1 - q), weight=weight, name=name)
            for kind, weight, name in (('cells', 0.5, 'grouping'), ('slots', 1.0, 'contrast'))
            for q in (0, 1)
        ],
    )
    model = MomentumPretrainer(backbone=dict(type='densecl.Pixelwise'), heads=dict(slots=head), momentum=0.9)
    model.init_weights()
    return model.double().train()


def everything() -> dict:
    """Loss and terms of all steps (mean over ranks), each step's gradients, and the state at the end."""
    model = build()
    wrapped = DistributedDataParallel(model, broadcast_buffers=False) if world_size() > 1 else model
    # As sync_bn does; but data-parallel training of torch refuses such layers on a CPU.
    nn.SyncBatchNorm.convert_sync_batchnorm(model.heads['slots'].predictor)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    logged, gradients = [], []
    for step in range(STEPS):
        optimizer.zero_grad()
        result = wrapped(views(step), mode='loss')
        result['loss_slots'].backward()
        keys = ('loss_slots', 'slots_grouping', 'slots_contrast', 'slots_occupancy')
        values = torch.stack([result[key].detach().double() for key in keys])
        dist.all_reduce(values)
        logged.append(values / world_size())
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
        optimizer.step()
        model.after_optimizer_step()
    return dict(logged=torch.stack(logged), gradients=gradients, state=model.state_dict())
