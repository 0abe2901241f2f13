"""DenseCL's pixel term takes every choice of the contrastive objective."""

from pathlib import Path
from runpy import run_path

import pytest
import torch

from densecl.models.losses import InfoNCE
from densecl.models.pretrainers import MomentumPretrainer
from tests.models.heads.made import views_of

script = run_path(str(Path(__file__).parents[2] / 'distributed' / 'choices.py'))
CHOICES, LABELLED, DIM = (script[name] for name in ('CHOICES', 'LABELLED', 'DIM'))


def build(name: str) -> MomentumPretrainer:
    torch.manual_seed(0)
    choice = CHOICES[name]
    extra = InfoNCE(**choice).extra_channels
    rule = dict(type='SameLabel') if name in LABELLED else dict(type='MostSimilar', of='features')
    head = dict(
        units='Cells',
        projector=dict(type='ConvMLP', channels=(512, DIM + extra)),
        matching=rule,
        objective=dict(type='InfoNCE', queue=13, dim=DIM, batch='views', **choice),
        pairs=((0, 1), (1, 0)),
    )
    backbone = dict(type='TorchvisionResNet', arch='resnet18')
    return MomentumPretrainer(backbone=backbone, heads=dict(dense=head))


@pytest.mark.parametrize('name', CHOICES)
def test_two_steps(name):
    model = build(name).train()
    model.clock.total, model.clock.epoch = 2, 1
    named = dict(indices=torch.tensor([3, 1, 7, 2]), labels=torch.tensor([0, 1, 0, 1]))
    views = views_of(torch.randn(2, 4, 3, 64, 64), **named)
    for _ in range(2):
        loss = model(views, mode='loss')['loss_dense']
        model.zero_grad()
        loss.backward()
        assert loss.isfinite()
        assert all(p.grad.isfinite().all() for p in model.backbone.parameters())
        assert any((p.grad != 0).any() for p in model.heads.dense.projector.parameters())
        model.after_optimizer_step()
    queue = model.queues()['dense']
    assert queue.enqueued == 16  # both key views of two steps
