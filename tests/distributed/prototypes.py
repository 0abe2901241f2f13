"""Run by test_prototypes_of_two_processes.py: four steps of SwAV and of DINO.

Batch statistics are left out (no norm in the projector, vectors instead of a backbone): only then can half
batches equal the whole one.
"""

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from densecl.distributed import rank, world_size
from densecl.models.pretrainers import MomentumPretrainer, SharedPretrainer
from densecl.registry import MODELS
from densecl.structures import Views

BATCH, STEPS = 6, 4


@MODELS.register_module()
class Pointwise(nn.Module):
    """A backbone without batch statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 1)

    def forward(self, x):
        return self.conv(x).tanh()


def views(step: int) -> Views:
    """This rank's part of the batch: two crops of one size and two of another."""
    generator = torch.Generator().manual_seed(step)
    images = [
        torch.randn(BATCH, 3, s, s, dtype=torch.float64, generator=generator) for s in (4, 4, 2, 2)
    ]
    n = BATCH // world_size()
    return Views(
        images=[x[rank() * n : (rank() + 1) * n] for x in images],
        boxes=[torch.zeros(n, 4)] * 4,
        flipped=[torch.zeros(n, dtype=torch.bool)] * 4,
        source_sizes=torch.ones(n, 2),
        indices=torch.arange(n),
        paths=[''] * n,
        photometric=[None] * 4,
    )


def build(method: str):
    """SwAV, with a queue of odd length that is full after two steps; or DINO."""
    torch.manual_seed(0)
    objective = dict(type='densecl.SwappedPrediction', queue=11, dim=5, queue_start=0)
    projector = dict(type='densecl.PrototypeProjector', channels=(12, 9, 5), prototypes=8)
    if method == 'dino':
        objective = dict(type='densecl.SelfDistillation', prototypes=8)
        projector.update(weight_norm=True, learn_length=True, activation='GELU')
    head = dict(
        units='densecl.Prototypes',
        projector=projector,
        objective=objective,
        pairs='crops',
    )
    pretrainer, more = SharedPretrainer, {}
    if method == 'dino':
        pretrainer, more = MomentumPretrainer, dict(momentum=0.9)
    model = pretrainer(
        backbone=dict(type='densecl.Pointwise'), heads=dict(image=head), join_views=True, **more
    )
    model.init_weights()
    return model.double().train()


def train(method: str) -> dict:
    """Losses of all steps (mean over ranks), last gradients, and the state at the end."""
    model = build(method)
    wrapped = DistributedDataParallel(model, broadcast_buffers=False) if world_size() > 1 else model
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    losses = []
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = wrapped(views(step), mode='loss')['loss_image']
        loss.backward()
        total = loss.detach().clone()
        dist.all_reduce(total)
        losses.append(total / world_size())
        optimizer.step()
        model.after_optimizer_step()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return dict(losses=torch.stack(losses), gradients=gradients, state=model.state_dict())


def everything() -> dict:
    """What :func:`train` finds, for each method."""
    return {method: train(method) for method in ('swav', 'dino')}
