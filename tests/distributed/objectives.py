"""Run by test_objectives_of_two_processes.py: two steps of each objective."""

import torch

from densecl.distributed import all_reduce, rank, world_size
from densecl.models.losses import (
    NCE,
    BarlowTwins,
    LabelCrossEntropy,
    NegativeCosine,
    PrototypeAlignment,
    Samples,
    Sum,
    VICReg,
)

ROWS, DIM = 8, 6
LABELS = torch.tensor([1, -1, 2, 0, -1, -1, -1, 2])  # three of the first half, one of the second
IMAGES = [[3, 12, 5, 0, 9, 5, 7, 1], [3, 2, 9, 4, 9, 11, 12, 6]]  # 5 and 9 come twice


def objectives() -> dict[str, torch.nn.Module]:
    """Each objective by name, in float64."""
    contrast = dict(type='densecl.InfoNCE', queue=0, batch='views')
    anchors = dict(type='densecl.PrototypeAlignment', classes=3, dim=DIM)
    made = dict(
        cosine=NegativeCosine(),
        distance=NegativeCosine(squared_distance=True),
        barlow=BarlowTwins(redundancy_weight=0.1),
        vicreg=VICReg(),
        vicreg_paper=VICReg(form='paper'),
        anchors=PrototypeAlignment(classes=3, dim=DIM),
        clop=Sum(objectives=[contrast, anchors], weights=[1.0, 2.0]),
        labels=LabelCrossEntropy(),
        nce=NCE(images=13, dim=DIM, negatives=7, temperature=0.2),
        softmax=NCE(images=13, dim=DIM, temperature=0.2, form='softmax'),
    )
    return {name: objective.double().train() for name, objective in made.items()}


def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The global batch of two views, the same in every process."""
    generator = torch.Generator().manual_seed(step)
    return torch.randn(2, ROWS, DIM, generator=generator, dtype=torch.float64).unbind()


def run(objective: torch.nn.Module, own: slice) -> dict[str, torch.Tensor]:
    """Losses and gradients of two steps on this process's rows, and the state after them."""
    generator = torch.Generator().manual_seed(9)
    weight = torch.randn(DIM, DIM, generator=generator, dtype=torch.float64).requires_grad_()
    found = {}
    for step, images in enumerate(IMAGES):
        a, b = (x[own] @ weight for x in batch(step))
        samples = Samples(indices=torch.tensor(images)[own], labels=LABELS[own])
        loss, diagnostics = objective(a, b, samples=samples)
        assert not any(value.requires_grad for value in diagnostics.values())
        (gradient,) = torch.autograd.grad(loss, weight)
        for name, value in (('loss', loss.detach()), ('gradient', gradient)):
            found[f'{name}{step}'] = all_reduce(value) / world_size()
    return {**found, **objective.state_dict()}


def everything() -> dict[str, dict[str, torch.Tensor]]:
    """What :func:`run` finds, for each objective."""
    size = ROWS // world_size()
    own = slice(rank() * size, (rank() + 1) * size)
    return {name: run(objective, own) for name, objective in objectives().items()}
