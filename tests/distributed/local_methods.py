"""Run by test_local_methods_of_two_processes.py: VICRegL, SetSim, SCRL, puzzles.

Batch statistics are left out (no norm anywhere): only then can half batches equal the whole one.
"""

from dataclasses import replace

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from densecl.distributed import rank, world_size
from densecl.models.pretrainers import MomentumPretrainer, SharedPretrainer
from densecl.registry import MODELS
from densecl.structures import ViewRegions, Views

BATCH, STEPS = 6, 3


@MODELS.register_module()
class Cellwise(nn.Module):
    """A backbone without batch statistics: a cell for each 8 x 8 px."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 8, stride=8)

    def forward(self, x):
        return self.conv(x).tanh()


def whole(step: int) -> Views:
    """The global batch. In step 1 the crops of images 3 to 5, the second process's, do not overlap."""
    generator = torch.Generator().manual_seed(step)
    corner = torch.rand(2, BATCH, 2, generator=generator) * 20
    near = torch.rand(2, BATCH, 3, 2, dtype=torch.float64, generator=generator) * 16
    ids = torch.arange(3).repeat(BATCH, 1)
    if step == 1:
        corner[1, 3:] += 200
        ids[3:] = -1
    return Views(
        images=list(torch.randn(2, BATCH, 3, 32, 32, dtype=torch.float64, generator=generator)),
        boxes=[torch.cat([c, c + 50 + 10 * v], 1) for v, c in enumerate(corner)],
        flipped=list(torch.rand(2, BATCH, generator=generator) < 0.5),
        source_sizes=torch.full((BATCH, 2), 300.0),
        indices=torch.arange(BATCH),
        paths=[''] * BATCH,
        photometric=[None] * 2,
        regions=dict(overlap=[ViewRegions(torch.cat([x, x + 14], -1), ids) for x in near]),
        answers=torch.randint(5, (2, BATCH), generator=generator),
    )


def part(views: Views) -> Views:
    """This process's images."""
    size = BATCH // world_size()
    own = slice(rank() * size, (rank() + 1) * size)
    return replace(
        views,
        images=[x[own] for x in views.images],
        boxes=[x[own] for x in views.boxes],
        flipped=[x[own] for x in views.flipped],
        source_sizes=views.source_sizes[own],
        indices=views.indices[own],
        paths=views.paths[own],
        regions=dict(overlap=[ViewRegions(x.boxes[own], x.ids[own]) for x in views.regions['overlap']]),
        answers=views.answers[:, own],
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
    """Losses of all steps (mean over ranks), last gradients, and the state at the end."""
    model = build(method)
    wrapped = DistributedDataParallel(model, broadcast_buffers=False) if world_size() > 1 else model
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    losses, shares = [], []
    for step in range(STEPS):
        optimizer.zero_grad()
        found = wrapped(part(whole(step)), mode='loss')
        found['loss_it'].backward()
        total = found['loss_it'].detach().clone()
        dist.all_reduce(total)
        losses.append(total / world_size())
        shares.append(found.get('it_matched', torch.ones(())))
        optimizer.step()
        model.after_optimizer_step()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return dict(
        losses=torch.stack(losses), gradients=gradients, state=model.state_dict(), shares=torch.stack(shares)
    )


def everything() -> dict:
    """What :func:`train` finds, for each method."""
    return {method: train(method) for method in heads()}
