"""Run by test_levels_of_two_processes.py: DetCo's head on two levels, its patches and its four queues.

Batch statistics are left out (no norm anywhere): only then can half batches equal the whole one.
"""

import torch
from torch import nn

from densecl.models.pretrainers import MomentumPretrainer
from densecl.registry import MODELS
from densecl.structures import Views
from tests.distributed.steps import own, trained
from tests.models.heads.made import views_of

BATCH, PATCHES, STEPS = 4, 4, 3


@MODELS.register_module()
class TwoLevels(nn.Module):
    """A backbone without batch statistics: cells of 4 and 8 px."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 4, stride=4), nn.Conv2d(6, 7, 2, stride=2)

    def forward(self, x):
        first = self.first(x).tanh()
        return first, self.second(first).tanh()


def share(step: int) -> Views:
    """This process's images: two of 32 px, and the patches, of 16 px, of two puzzles of each."""
    generator = torch.Generator().manual_seed(step)
    mine, count = own(BATCH), 2 + 2 * PATCHES
    sides = [32, 32] + [16] * (2 * PATCHES)
    images = [torch.randn(BATCH, 3, s, s, dtype=torch.float64, generator=generator) for s in sides]
    corners = torch.rand(count, BATCH, 2, generator=generator) * 20
    return views_of(
        [x[mine] for x in images],
        boxes=[torch.cat([c, c + 50], 1)[mine] for c in corners],
        indices=torch.arange(BATCH)[mine],
    )


def everything() -> dict:
    """What :func:`trained` finds, every term included."""
    torch.manual_seed(0)
    head = dict(
        units=dict(type='densecl.Patches', images=2, patches=PATCHES, levels=dict(c2=0, c3=1)),
        projector=dict(
            type='densecl.LevelProjectors',
            names=('c2', 'c3'),
            channels=(6, 7),
            out_channels=5,
            patches=PATCHES,
        ),
        objective=dict(type='densecl.InfoNCE', queue=11, dim=5),
        pairs=[
            dict(query=(f'{q}_{c}', 0), key=(f'{k}_{c}', 1), weight=weight, name=f'{q[0]}2{k[0]}_{c}')
            for c, weight in (('c2', 0.4), ('c3', 1.0))
            for q, k in (('global', 'global'), ('local', 'local'), ('local', 'global'))
        ],
    )
    model = MomentumPretrainer(
        backbone=dict(type='densecl.TwoLevels'), heads=dict(it=head), momentum=0.9, join_views=True
    )
    model.init_weights()
    terms = 'it_g2g', 'it_l2l', 'it_l2g'
    return trained(model.double().train(), share, STEPS, lr=0.1, keys=('loss_it', *terms))
