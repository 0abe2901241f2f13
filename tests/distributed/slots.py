"""Run by test_slots_of_two_processes.py: four steps of SlotCon.

The predictor's batch statistics are over all processes, and there are no others: only then can parts of a
batch equal the whole one. Images differ in whether their views overlap; in the second step the first two
images have no overlap (all of rank 0's, with three ranks), in the third no image has any.
"""

import torch
from torch import nn

from densecl.models.pretrainers import MomentumPretrainer
from densecl.registry import MODELS
from densecl.structures import Views
from tests.distributed.steps import own, trained
from tests.models.heads.made import views_of

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
    mine = own(BATCH)
    return views_of(images[:, mine], boxes[:, mine], flipped[:, mine])


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
    """What :func:`trained` finds, every term included."""
    keys = ('loss_slots', 'slots_grouping', 'slots_contrast', 'slots_occupancy')
    return trained(build(), views, STEPS, lr=0.1, keys=keys, after_wrap=synchronise)


def synchronise(model: MomentumPretrainer) -> None:
    """As sync_bn does; but data-parallel training of torch refuses such layers on a CPU."""
    nn.SyncBatchNorm.convert_sync_batchnorm(model.heads['slots'].predictor)
