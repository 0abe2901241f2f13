"""Run by test_levels_of_two_processes.py: DetCo's head on two levels, its patches and its four queues.

Batch statistics are left out (no norm anywhere): only then can half batches equal the whole one.
"""

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from densecl.distributed import rank, world_size
from densecl.models.pretrainers import MomentumPretrainer
from densecl.registry import MODELS
from densecl.structures import Views

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
    size, count = BATCH // world_size(), 2 + 2 * PATCHES
    own = slice(rank() * size, (rank() + 1) * size)
    sides = [32, 32] + [16] * (2 * PATCHES)
    images = [torch.randn(BATCH, 3, s, s, dtype=torch.float64, generator=generator) for s in sides]
    corners = torch.rand(count, BATCH, 2, generator=generator) * 20
    return Views(
        images=[x[own] for x in images],
        boxes=[torch.cat([c, c + 50], 1)[own] for c in corners],
        flipped=[torch.zeros(size, dtype=torch.bool)] * count,
        source_sizes=torch.full((size, 2), 300.0),
        indices=torch.arange(BATCH)[own],
        paths=[''] * size,
        photometric=[None] * count,
    )


def everything() -> dict:
    """Losses of all steps and the logged terms (mean over ranks), last gradients, the state at the end."""
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
    model.double().train()
    wrapped = DistributedDataParallel(model, broadcast_buffers=False) if world_size() > 1 else model
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    figures = []
    for step in range(STEPS):
        optimizer.zero_grad()
        found = wrapped(share(step), mode='loss')
        found['loss_it'].backward()
        names = ['loss_it', *sorted(k for k in found if k[:6] in ('it_g2g', 'it_l2l', 'it_l2g'))]
        values = torch.stack([found[name].detach() for name in names])
        dist.all_reduce(values)
        figures.append(values / world_size())
        optimizer.step()
        model.after_optimizer_step()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return dict(
        names=names, figures=torch.stack(figures), gradients=gradients, state=model.state_dict()
    )
