"""Data-parallel training as the scripts of this folder do it, each process with a part of the batch."""

from contextlib import nullcontext

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from densecl.distributed import rank, world_size


def own(count: int) -> slice:
    """Which of ``count`` images are this process's."""
    size = count // world_size()
    return slice(rank() * size, (rank() + 1) * size)


def trained(
    model, views, steps: int, lr: float, keys=('loss_',), local=(), after_wrap=None, during=nullcontext
) -> dict:
    """What a training of some steps logs, each step's gradients, and the state at the end.

    Args:
        model: a pretrainer, in training; the sum of its losses is trained on.
        views: makes this process's part of a step's batch.
        steps: how many.
        lr: learning rate of plain SGD.
        keys: how the logged names begin whose means over the processes are found.
        local: logged names whose values are found as this process has them.
        after_wrap: called with the model when it has been made data-parallel.
        during: of a step, the context of its forward and backward pass.
    """
    wrapped = DistributedDataParallel(model, broadcast_buffers=False) if world_size() > 1 else model
    if after_wrap is not None:
        after_wrap(model)
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.SGD(parameters.values(), lr=lr)
    logged, here, gradients = [], [], []
    for step in range(steps):
        optimizer.zero_grad()
        with during(step):
            found = wrapped(views(step), mode='loss')
            sum(value for name, value in found.items() if name.startswith('loss_')).backward()
        names = [name for name in found if name.startswith(tuple(keys))]
        means = torch.stack([found[name].detach().double() for name in names])
        dist.all_reduce(means)
        logged.append(means / world_size())
        here.append({name: found[name] for name in local})
        gradients.append({name: p.grad.clone() for name, p in parameters.items()})
        optimizer.step()
        model.after_optimizer_step()
    return dict(
        logged=dict(zip(names, torch.stack(logged, 1), strict=True)),
        local={name: torch.stack([values[name] for values in here]) for name in local},
        gradients=gradients,
        state=model.state_dict(),
    )
