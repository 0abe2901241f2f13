"""Run by test_masks_of_two_processes.py: DetCon-B and DetCon-S.

Batch statistics are left out (no norm anywhere): only then can half batches equal the whole one. The second
step sends the keys around the ring of processes. In the third, no view of the first three images, which are
the first process's, shows a mask of the other.
"""

from unittest.mock import patch

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from densecl.distributed import rank, world_size
from densecl.models.losses import kernel
from densecl.models.pretrainers import MomentumPretrainer, SharedPretrainer
from densecl.registry import MODELS
from densecl.structures import ViewRegions, Views

BATCH, MASKS, GRID, STEPS = 6, 5, 4, 3


@MODELS.register_module(name='MaskCells')
class Cellwise(nn.Module):
    """A backbone without batch statistics: a cell for each 8 x 8 px."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 8, stride=8)

    def forward(self, x):
        return self.conv(x).tanh()


def views(step: int) -> Views:
    """This process's part of the batch."""
    generator = torch.Generator().manual_seed(step)
    images = torch.randn(2, BATCH, 3, 32, 32, dtype=torch.float64, generator=generator)
    owners = torch.randint(0, 7, (2, BATCH, 1, GRID, GRID), generator=generator)
    ids = owners.flatten(2)[:, :, :MASKS]
    masks = (owners == ids[..., None, None]).double()
    if step == 2:
        ids = ids.clone()
        ids[1, :3] += 100
    n = BATCH // world_size()
    mine = slice(rank() * n, (rank() + 1) * n)
    return Views(
        images=[x[mine] for x in images],
        boxes=[torch.zeros(n, 4)] * 2,
        flipped=[torch.zeros(n, dtype=torch.bool)] * 2,
        source_sizes=torch.ones(n, 2),
        indices=torch.arange(n),
        paths=[''] * n,
        photometric=[None] * 2,
        regions=dict(
            masks=[ViewRegions(torch.zeros(n, MASKS, 4), ids[v, mine], masks[v, mine]) for v in (0, 1)]
        ),
    )


def build(method: str):
    torch.manual_seed(0)
    head = dict(
        units='densecl.Masks',
        matching=dict(type='densecl.SameId', share_repeats=True),
        projector=dict(type='densecl.MLP', channels=(12, 9, 5)),
        objective=dict(type='densecl.InfoNCE', temperature=0.1, queue=0, batch='units+own'),
        pairs=((0, 1), (1, 0)),
        loss_weight=2.0,
    )
    if method == 'b':
        head['predictor'] = dict(type='densecl.MLP', channels=(5, 9, 5))
    parts = dict(backbone=dict(type='densecl.MaskCells'), heads=dict(masks=head))
    model = MomentumPretrainer(**parts, momentum=0.9) if method == 'b' else SharedPretrainer(**parts)
    model.init_weights()
    return model.double().train()


def train(method: str) -> dict:
    """Losses of all steps (mean over ranks), each step's gradients, and the state at the end."""
    model = build(method)
    wrapped = DistributedDataParallel(model, broadcast_buffers=False) if world_size() > 1 else model
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    losses, gradients = [], []
    for step in range(STEPS):
        optimizer.zero_grad()
        with patch.object(kernel, 'RING_ABOVE_BYTES', 0 if step == 1 else kernel.RING_ABOVE_BYTES):
            loss = wrapped(views(step), mode='loss')['loss_masks']
            loss.backward()
        total = loss.detach().clone()
        dist.all_reduce(total)
        losses.append(total / world_size())
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
        optimizer.step()
        model.after_optimizer_step()
    return dict(losses=torch.stack(losses), gradients=gradients, state=model.state_dict())


def everything() -> dict:
    """What :func:`train` finds, for each method."""
    return {method: train(method) for method in 'bs'}
