"""Run by test_objects_of_two_processes.py: four steps of Leopart and of CrIBo.

Foregrounds and objects are of uneven numbers; in the third step no image has a foreground.
"""

import torch
from torch import nn

from densecl.models.pretrainers import MomentumPretrainer
from densecl.registry import MODELS
from densecl.structures import Views
from tests.distributed.steps import own, trained
from tests.models.heads.made import views_of

BATCH, STEPS, WIDTH, K = 6, 4, 6, 7
TERMS = {'leopart': (), 'cribo': ('heads_neighbours', 'heads_agreeing')}


@MODELS.register_module()
class Coarse(nn.Module):
    """A backbone without batch statistics, whose maps have a quarter of the side."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, WIDTH, 4, 4, bias=False)

    def forward(self, x):
        return self.conv(x).tanh()


def views(step: int, count: int) -> Views:
    """This rank's part of the batch; two large crops and perhaps a small one."""
    generator = torch.Generator().manual_seed(step)
    near = 20 * torch.rand(3, BATCH, 2, generator=generator, dtype=torch.float64)
    far = near + 25 + 20 * torch.rand(3, BATCH, 2, generator=generator, dtype=torch.float64)
    boxes, flipped = torch.cat([near, far], 2), torch.rand(3, BATCH, generator=generator) < 0.5
    boxes[1, 0] += 100  # shares nothing
    images = [torch.randn(BATCH, 3, s, s, dtype=torch.float64, generator=generator) for s in (24, 24, 12)]
    for image in images:
        if count == 3 and step == 2:
            image.zero_()
    mine = own(BATCH)
    return views_of(
        [x[mine] for x in images[:count]],
        boxes[:count, mine],
        flipped[:count, mine],
        indices=torch.arange(BATCH)[mine],
    )


def head(method: str) -> dict:
    projector = dict(type='densecl.PrototypeProjector', channels=(WIDTH, 4), prototypes=K)
    if method == 'leopart':
        return dict(
            units=dict(type='densecl.CellPrototypes', foreground='norm'),
            matching=dict(type='densecl.SharedGrid', size=3, samples=2),
            projector=projector,
            objective=dict(
                type='densecl.SwappedPrediction',
                queue=21,
                dim=4,
                queue_start=0,
                queue_units=2,
                mean='counted',
            ),
            pairs='crops',
        )
    return dict(
        units=dict(type='densecl.JointObjects', count=6, sharpness=10.0),
        projector=dict(projector, weight_norm=True),
        objective=dict(type='densecl.NeighbourDistillation', prototypes=K, dim=WIDTH, queue=50, start=0),
        pairs=((0, 1), (1, 0)),
    )


def train(method: str) -> dict:
    """What :func:`trained` finds, every term included."""
    torch.manual_seed(0)
    model = MomentumPretrainer(
        backbone=dict(type='densecl.Coarse'), heads=dict(heads=head(method)), join_views=True, momentum=0.9
    )
    model.init_weights()
    count = 3 if method == 'leopart' else 2
    keys = ('loss_heads', *TERMS[method])
    return trained(model.double().train(), lambda step: views(step, count), STEPS, lr=0.5, keys=keys)


def everything() -> dict:
    """What :func:`train` finds, for each method."""
    return {method: train(method) for method in TERMS}
