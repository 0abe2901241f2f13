"""Run by test_prototypes_of_two_processes.py: four steps of SwAV and of DINO.

Batch statistics are left out (no norm in the projector, vectors instead of a backbone): only then can half
batches equal the whole one.
"""

import torch
from torch import nn

from densecl.models.pretrainers import MomentumPretrainer, SharedPretrainer
from densecl.registry import MODELS
from densecl.structures import Views
from tests.distributed.steps import own, trained
from tests.models.heads.made import views_of

BATCH, STEPS = 6, 4


@MODELS.register_module()
class Pointwise(nn.Module):
    """A backbone without batch statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 1)

    def forward(self, x):
        return self.conv(x).tanh()


def views(step: int) -> Views:
    """This rank's part of the batch: two crops of one size and two of another."""
    generator = torch.Generator().manual_seed(step)
    shapes = [(BATCH, 3, side, side) for side in (4, 4, 2, 2)]
    images = [torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes]
    return views_of([x[own(BATCH)] for x in images])


def build(method: str):
    """SwAV, with a queue of odd length that is full after two steps; or DINO."""
    torch.manual_seed(0)
    objective = dict(type='densecl.SwappedPrediction', queue=11, dim=5, queue_start=0)
    projector = dict(type='densecl.PrototypeProjector', channels=(12, 9, 5), prototypes=8)
    if method == 'dino':
        objective = dict(type='densecl.SelfDistillation', prototypes=8)
        projector.update(weight_norm=True, learn_length=True, activation='GELU')
    head = dict(
        units='densecl.Prototypes',
        projector=projector,
        objective=objective,
        pairs='crops',
    )
    pretrainer, more = SharedPretrainer, {}
    if method == 'dino':
        pretrainer, more = MomentumPretrainer, dict(momentum=0.9)
    model = pretrainer(
        backbone=dict(type='densecl.Pointwise'), heads=dict(image=head), join_views=True, **more
    )
    model.init_weights()
    return model.double().train()


def everything() -> dict:
    """What :func:`trained` finds, for each method."""
    return {method: trained(build(method), views, STEPS, lr=0.5) for method in ('swav', 'dino')}
