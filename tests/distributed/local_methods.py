"""Run by test_local_methods_of_two_processes.py: VICRegL, SetSim, SCRL, puzzles.

Batch statistics are left out (no norm anywhere): only then can half batches equal the whole one.
"""

import torch
from torch import nn

from densecl.models.pretrainers import MomentumPretrainer, SharedPretrainer
from densecl.registry import MODELS
from densecl.structures import ViewRegions, Views
from tests.distributed.steps import own, trained
from tests.models.heads.made import views_of

BATCH, STEPS = 6, 3


@MODELS.register_module()
class Cellwise(nn.Module):
    """A backbone without batch statistics: a cell for each 8 x 8 px."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 8, stride=8)

    def forward(self, x):
        return self.conv(x).tanh()


def share(step: int) -> Views:
    """This process's images. In step 1 the crops of images 3 to 5, the second process's, do not overlap."""
    generator = torch.Generator().manual_seed(step)
    corner = torch.rand(2, BATCH, 2, generator=generator) * 20
    near = torch.rand(2, BATCH, 3, 2, dtype=torch.float64, generator=generator) * 16
    ids = torch.arange(3).repeat(BATCH, 1)
    if step == 1:
        corner[1, 3:] += 200
        ids[3:] = -1
    mine = own(BATCH)
    return views_of(
        torch.randn(2, BATCH, 3, 32, 32, dtype=torch.float64, generator=generator)[:, mine],
        boxes=[torch.cat([c, c + 50 + 10 * v], 1)[mine] for v, c in enumerate(corner)],
        flipped=(torch.rand(2, BATCH, generator=generator) < 0.5)[:, mine],
        indices=torch.arange(BATCH)[mine],
        regions=dict(overlap=[ViewRegions(torch.cat([x, x + 14], -1)[mine], ids[mine]) for x in near]),
        answers=torch.randint(5, (2, BATCH), generator=generator)[:, mine],
    )


def heads() -> dict[str, dict]:
    """A head of each method."""
    maps, vectors = (dict(type=f'densecl.{kind}', channels=(12, 9, 5)) for kind in ('ConvMLP', 'MLP'))
    return dict(
        vicregl=dict(
            units='densecl.Cells',
            projector=maps,
            matching=[dict(type='densecl.NearestFeature'), dict(type='densecl.NearestLocation', top=7)],
            objective='densecl.PositionVICReg',
            pairs=((0, 1), (1, 0)),
        ),
        setsim=dict(
            units='densecl.Cells',
            projector=maps,
            matching=dict(type='densecl.SetSimilarity', attention=0.5),
            objective=dict(type='densecl.InfoNCE', queue=11, dim=5, mean='images'),
        ),
        scrl=dict(
            units=dict(type='densecl.Boxes', regions='overlap', bins=1),
            projector=vectors,
            predictor=dict(type='densecl.MLP', channels=(5, 9, 5)),
            objective=dict(type='densecl.Cosine', squared=True, mean='counted'),
            pairs=((0, 1), (1, 0)),
        ),
        puzzle=dict(
            target=dict(type='densecl.Known'),
            units=dict(type='densecl.PatchSet', patches=2),
            projector=dict(
                type='densecl.PatchProjector', patches=2, together=dict(vectors, channels=(24, 5))
            ),
            objective='densecl.CodeCrossEntropy',
            pairs=((0, 0),),
        ),
    )


def build(method: str):
    torch.manual_seed(0)
    parts = dict(backbone=dict(type='densecl.Cellwise'), heads=dict(it=heads()[method]))
    model = (
        SharedPretrainer(**parts)
        if method in ('vicregl', 'puzzle')
        else MomentumPretrainer(**parts, momentum=0.9)
    )
    model.init_weights()
    return model.double().train()


def train(method: str) -> dict:
    """What :func:`trained` finds, and of SCRL the share of regions that each process has."""
    return trained(build(method), share, STEPS, lr=0.1, local=('it_matched',) if method == 'scrl' else ())


def everything() -> dict:
    """What :func:`train` finds, for each method."""
    return {method: train(method) for method in heads()}
