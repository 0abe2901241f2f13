"""Run by test_texts_of_two_processes.py: images and texts, gradients of both towers and of the scale."""

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from densecl.distributed import world_size
from densecl.models.losses import kernel, sources
from densecl.models.pretrainers import SharedPretrainer
from densecl.registry import MODELS
from densecl.structures import Views
from tests.distributed.steps import own
from tests.models.heads.made import views_of

BATCH, LENGTH, WORDS, DIM = 6, 4, 11, 5
LEARNED = dict(type='densecl.LearnedTemperature', start=0.1)
OBJECTIVES = dict(
    clip=(dict(type='densecl.InfoNCE', queue=0, batch='keys', temperature=LEARNED), True),
    hard=(
        dict(
            type='densecl.InfoNCE',
            queue=0,
            batch='keys',
            temperature=LEARNED,
            negatives=dict(type='densecl.Hard', prior=0.1, concentration=0.5),
        ),
        True,
    ),
    siglip=(dict(type='densecl.SigmoidContrast'), False),
)


@MODELS.register_module()
class Words(nn.Module):
    """The mean of the tokens' vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, DIM)
        self.width, self.context_length = DIM, LENGTH

    def forward(self, tokens):
        return self.words(tokens).mean(1).tanh()


@MODELS.register_module()
class Convolved(nn.Module):
    """A backbone without batch statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 8, stride=8)

    def forward(self, x):
        return self.conv(x).tanh()


def part() -> Views:
    """This process's images of the global batch."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(BATCH, 3, 16, 16, generator=generator, dtype=torch.float64)
    tokens = torch.randint(0, WORDS, (BATCH, LENGTH), generator=generator)
    mine = own(BATCH)
    return views_of([images[mine]], indices=torch.arange(BATCH)[mine], tokens=tokens[mine])


def step(objective: dict, both_ways: bool) -> dict:
    torch.manual_seed(0)
    head = dict(
        projector=dict(type='densecl.MLP', channels=(8, DIM)),
        target=dict(type='densecl.Text', tower=dict(type='Words')),
        objective=objective,
        pairs=((0, 0),),
        both_ways=both_ways,
    )
    model = SharedPretrainer(backbone=dict(type='Convolved'), heads=dict(text=head)).double().train()
    run = DistributedDataParallel(model) if dist.is_initialized() else model
    loss = run(part(), mode='loss')['loss_text']
    loss.backward()
    if dist.is_initialized():
        dist.all_reduce(loss := loss.detach())
    return dict(
        loss=loss.detach() / world_size(),
        gradients={name: p.grad for name, p in model.named_parameters()},
    )


def everything() -> dict:
    found = {name: step(*choice) for name, choice in OBJECTIVES.items()}
    before, sources.worth_a_ring = sources.worth_a_ring, lambda keys: world_size() > 1
    try:
        found['ring'] = step(*OBJECTIVES['clip'])
    finally:
        sources.worth_a_ring = before
    assert kernel.worth_a_ring is before
    return found
