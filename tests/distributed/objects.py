"""Run by test_objects_of_two_processes.py: four steps of Leopart and of CrIBo.

Foregrounds and objects are of uneven numbers; in the third step no image has a foreground.
"""

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from densecl.distributed import rank, world_size
from densecl.models.pretrainers import MomentumPretrainer
from densecl.registry import MODELS
from densecl.structures import Views

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
    n = BATCH // world_size()
    mine = slice(rank() * n, (rank() + 1) * n)
    return Views(
        images=[x[mine] for x in images[:count]],
        boxes=[x[mine] for x in boxes[:count]],
        flipped=[x[mine] for x in flipped[:count]],
        source_sizes=torch.full((n, 2), 200.0),
        indices=torch.arange(BATCH)[mine],
        paths=[''] * n,
        photometric=[None] * count,
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
    """Losses of all steps (mean over ranks), each step's gradients, and the state at the end."""
    torch.manual_seed(0)
    model = MomentumPretrainer(
        backbone=dict(type='densecl.Coarse'), heads=dict(heads=head(method)), join_views=True, momentum=0.9
    )
    model.init_weights()
    model.double().train()
    wrapped = DistributedDataParallel(model, broadcast_buffers=False) if world_size() > 1 else model
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    logged, gradients = [], []
    for step in range(STEPS):
        optimizer.zero_grad()
        result = wrapped(views(step, 3 if method == 'leopart' else 2), mode='loss')
        result['loss_heads'].backward()
        values = torch.stack([result[key].detach() for key in ('loss_heads', *TERMS[method])])
        dist.all_reduce(values)
        logged.append(values / world_size())
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
        optimizer.step()
        model.after_optimizer_step()
    return dict(logged=torch.stack(logged), gradients=gradients, state=model.state_dict())


def everything() -> dict:
    """What :func:`train` finds, for each method."""
    return {method: train(method) for method in TERMS}
