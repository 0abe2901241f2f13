"""Run by test_active_of_two_processes.py: two passes of batch norm over active rows and cells.

The rows of one batch are spread unequally, and so are the active ones: the last process has none.
"""

import torch
import torch.distributed as dist
from torch import nn

from densecl.distributed import rank, world_size
from densecl.models.active import only_active

ROWS = 12


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """(12, 3, 2, 4) and its mask, the same in every process."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(ROWS, 3, 2, 4, dtype=torch.float64, generator=generator) * 2 + 30
    active = torch.rand(ROWS, 2, 4, generator=generator) < 0.4
    active[8:] = False
    return x, active


def own() -> slice:
    """This process's rows: 12; 7 and 5; or 2, 6 and 4."""
    ends = {1: (0, 12), 2: (0, 7, 12), 3: (0, 2, 8, 12)}[world_size()]
    return slice(*ends[rank() : rank() + 2])


def sum_over(x: torch.Tensor) -> torch.Tensor:
    dist.all_reduce(x)
    return x


def everything() -> dict:
    """Outputs and gradients of this process's rows, summed gradients of the weights, statistics."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1), nn.GELU(), nn.BatchNorm2d(4)).double()
    net = nn.SyncBatchNorm.convert_sync_batchnorm(net)
    for parameter in net.parameters():
        nn.init.uniform_(parameter, 0.5, 1)
    (x, active), mine = batch(), own()
    x, active = x[mine].requires_grad_(), active[mine]
    outputs = []
    for factor in (1.0, 0.5):
        with only_active(net, active):
            outputs.append(net(x * factor))
    # A process's loss counts its own positions, and weighs them by their place.
    weights = torch.linspace(-1, 1, 8, dtype=torch.float64).view(2, 4)
    loss = sum((y.sin() * weights).sum() for y in outputs)
    gradient, *others = torch.autograd.grad(loss, [x, *net.parameters()])
    return dict(
        outputs=torch.stack(outputs).detach(),
        gradient=gradient,
        others=[sum_over(g) for g in others],
        state=net.state_dict(),
    )
