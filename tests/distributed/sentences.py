"""Run by test_sentences_of_two_processes.py: a step of SimCSE, with and without hard negatives."""

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from densecl.distributed import world_size
from densecl.models.pretrainers import SharedPretrainer
from densecl.structures import Views
from tests.distributed.steps import own
from tests.models.heads.made import views_of

HARD = dict(units=dict(type='densecl.ImageWithHard'), matching='densecl.SameId')
CHOICES = {
    'dropout': (2, dict(objective=dict(batch='keys'))),
    'hard': (3, dict(**HARD, objective=dict(batch='units'))),
    'weighted': (3, dict(**HARD, objective=dict(batch='units', own_weight=1.5))),
}


def build(head: dict) -> SharedPretrainer:
    """A small tower without dropout, which no two processes draw as one would."""
    torch.manual_seed(0)
    objective = dict(type='densecl.InfoNCE', queue=0, temperature=0.1, **head['objective'])
    projector = dict(type='densecl.MLP', channels=(16, 16), last_activation='Tanh')
    model = SharedPretrainer(
        data_preprocessor=dict(type='densecl.TextPreprocessor'),
        backbone=dict(
            type='densecl.TextTransformer',
            vocab_size=40,
            context_length=6,
            width=16,
            depth=2,
            heads=2,
            causal=False,
            feature='first',
        ),
        heads=dict(text={**head, 'objective': objective, 'projector': projector}),
        join_views=True,
    )
    return model.double().train()


def views(count: int, part: slice) -> Views:
    """Other texts in each view."""
    tokens = torch.randint(1, 39, (count, 6, 6), generator=torch.Generator().manual_seed(1))
    tokens[:, :, 4] = 39
    return views_of(tokens[:, part], indices=torch.arange(6)[part])


def everything() -> dict:
    found = {}
    for name, (count, head) in CHOICES.items():
        model = build(head)
        wrapped = DistributedDataParallel(model, broadcast_buffers=False) if world_size() > 1 else model
        loss = wrapped(views(count, own(6)), mode='loss')['loss_text']
        loss.backward()
        total = loss.detach().clone()
        dist.all_reduce(total)
        found[name] = dict(
            loss=total / world_size(), gradients={n: p.grad for n, p in model.named_parameters()}
        )
    return found
