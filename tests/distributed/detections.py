"""Run by test_detections_of_two_processes.py: AlignDet, without batch statistics.

In the third step no view of the first process's images has a box.
"""

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from densecl.distributed import rank, world_size
from densecl.structures import ViewRegions, Views
from tests.models.heads.units.test_detector_boxes import pretrainer

BATCH, BOXES, SIDE, STEPS = 4, 3, 64, 3


def views(step: int) -> Views:
    """This process's part of the batch."""
    g = torch.Generator().manual_seed(step)
    images = torch.randn(2, BATCH, 3, SIDE, SIDE, dtype=torch.float64, generator=g)
    corner = torch.rand(2, BATCH, BOXES, 2, generator=g) * SIDE * 0.6
    boxes = torch.cat([corner, corner + 8 + torch.rand(2, BATCH, BOXES, 2, generator=g) * SIDE * 0.25], -1)
    ids = torch.arange(BOXES).repeat(BATCH, 1)
    ids[0, 1] = -1  # another number of boxes in each process
    if step == 2:
        ids[: BATCH // 2] = -1
    n = BATCH // world_size()
    mine = slice(rank() * n, (rank() + 1) * n)
    return Views(
        images=[x[mine] for x in images],
        boxes=[torch.tensor([[0.0, 0, SIDE, SIDE]] * n)] * 2,
        flipped=[torch.zeros(n, dtype=torch.bool)] * 2,
        source_sizes=torch.full((n, 2), float(SIDE)),
        indices=torch.arange(n),
        paths=[''] * n,
        photometric=[None] * 2,
        regions=dict(objects=[ViewRegions(boxes[v, mine], ids[mine]) for v in (0, 1)]),
    )


def everything() -> dict:
    """Losses of all steps (mean over ranks), each step's gradients, and the state at the end."""
    model = pretrainer()
    wrapped = DistributedDataParallel(model, broadcast_buffers=False) if world_size() > 1 else model
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    losses, gradients = [], []
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = wrapped(views(step), mode='loss')['loss_objects']
        loss.backward()
        total = loss.detach().clone()
        dist.all_reduce(total)
        losses.append(total / world_size())
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
        optimizer.step()
        model.after_optimizer_step()
    return dict(losses=torch.stack(losses), gradients=gradients, state=model.state_dict())
