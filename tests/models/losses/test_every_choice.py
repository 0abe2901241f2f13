"""What each choice of InfoNCE keeps for the backward pass: no similarity matrix, and its own queue."""

from pathlib import Path
from runpy import run_path

import pytest
import torch
from oracles.comparisons import compare, set_clock, step

from densecl.models.losses import InfoNCE
from densecl.schedule import Clock

SCRIPT = Path(__file__).parents[2] / 'distributed' / 'choices.py'
script = run_path(str(SCRIPT))
CHOICES, LABELLED, BATCH, DIM = (script[name] for name in ('CHOICES', 'LABELLED', 'BATCH', 'DIM'))


def build(name: str, **kwargs) -> InfoNCE:
    torch.manual_seed(0)
    objective = InfoNCE(**{'temperature': 0.3, 'dim': DIM, **CHOICES[name], **kwargs}).train()
    set_clock(objective, Clock(step=2, total=3, epoch=1))
    return objective


def call(objective: InfoNCE, name: str, cells: int, dtype=torch.float32, remember: bool = True):
    """Leaves, and the loss of a batch of ``cells`` rows an image."""
    generator = torch.Generator().manual_seed(1)
    width = DIM + objective.extra_channels

    def leaf(count: int):
        return torch.randn(count, width, generator=generator).to(dtype).requires_grad_()

    leaves = [leaf(BATCH * cells), leaf(BATCH * cells), leaf(BATCH), leaf(BATCH)]
    support, indices = leaf(BATCH).detach()[None], torch.arange(BATCH)
    comparison = compare(*leaves[:2], indices, *leaves[2:], support=support, labels=indices % 3)
    if name in LABELLED:
        script['same_label'](comparison, cells)
    torch.manual_seed(2)
    return leaves, step(objective, comparison) if remember else objective.score(comparison)[0]


@pytest.mark.parametrize('name', CHOICES)
def test_nothing_of_the_matrix_s_size_is_kept(name):
    cells, queue = 48, 8192
    sizes = {}

    def pack(x):
        sizes[x.data_ptr()] = x.numel()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        _, loss = call(build(name, queue=queue, batch='views'), name, cells)
    loss.backward()
    assert sum(sizes.values()) < 0.05 * BATCH * cells * queue


@pytest.mark.parametrize('name', [name for name in CHOICES if name not in LABELLED])
def test_the_queue_may_be_overwritten_before_the_backward_pass(name):
    gradients = []
    for overwrite in (False, True):
        objective = build(name, queue=40, batch=None)
        leaves, loss = call(objective.double(), name, 3, torch.float64, remember=False)
        if overwrite:
            objective.queue.keys.normal_()
            objective.queue.images.fill_(0)
        gradients.append(torch.autograd.grad(loss, leaves[:2]))
    assert gradients[0][0].norm() > 1e-3
    for got, want in zip(*gradients, strict=True):
        assert torch.equal(got, want)
