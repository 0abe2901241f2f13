"""Run by test_cells_of_two_processes.py: two steps of each objective on cells."""

import torch

from densecl.distributed import all_reduce, rank, world_size
from densecl.models.losses import PixelConsistency, Samples

IMAGES, CELLS, DIM = 4, 5, 6


def objectives() -> dict[str, torch.nn.Module]:
    """Each objective by name, in float64."""
    made = dict(
        pixpro=PixelConsistency(),
    )
    return {name: objective.double().train() for name, objective in made.items()}


def batch(step: int):
    """Cells of two views, and positives that are spread unevenly: the last two images have none at first."""
    generator = torch.Generator().manual_seed(step)
    cells = torch.randn(2, IMAGES, CELLS, DIM, generator=generator, dtype=torch.float64)
    positives = torch.rand(IMAGES, CELLS, CELLS, generator=generator) < 0.3
    positives[1, :3] = False
    positives[2 if step == 0 else 3 :] = False
    return *cells, positives


def run(objective: torch.nn.Module, own: slice) -> dict[str, torch.Tensor]:
    """Losses and gradients of two steps on this process's images, and the state after them."""
    generator = torch.Generator().manual_seed(9)
    weight = torch.randn(DIM, DIM, generator=generator, dtype=torch.float64).requires_grad_()
    found = {}
    for step in range(2):
        query, keys, positives = (x[own] for x in batch(step))
        indices = torch.arange(IMAGES)[own] + 10 * step
        loss, diagnostics = objective(query @ weight, keys @ weight, positives, Samples(indices=indices))
        assert not any(value.requires_grad for value in diagnostics.values())
        (gradient,) = torch.autograd.grad(loss, weight)
        for name, value in (('loss', loss.detach()), ('gradient', gradient)):
            found[f'{name}{step}'] = all_reduce(value) / world_size()
    return {**found, **objective.state_dict()}


def everything() -> dict[str, dict[str, torch.Tensor]]:
    """What :func:`run` finds, for each objective."""
    size = IMAGES // world_size()
    own = slice(rank() * size, (rank() + 1) * size)
    torch.manual_seed(0)  # of the queue
    return {name: run(objective, own) for name, objective in objectives().items()}
