"""DenseCL's pixel term takes every choice of the contrastive objective."""

import importlib.util
from pathlib import Path

import pytest
import torch

from densecl.models.losses import InfoNCE
from densecl.models.pretrainers import MomentumPretrainer
from densecl.structures import Views

SCRIPT = Path(__file__).parents[2] / 'distributed' / 'choices.py'
spec = importlib.util.spec_from_file_location('choices', SCRIPT)
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)


def build(choice: dict) -> MomentumPretrainer:
    torch.manual_seed(0)
    extra = InfoNCE(**choice).temperature.extra_channels
    objective = dict(type='densecl.InfoNCE', queue=13, dim=script.DIM, batch='views', **choice)
    return MomentumPretrainer(
        backbone=dict(type='densecl.TorchvisionResNet', arch='resnet18'),
        heads=dict(
            dense=dict(
                type='densecl.DenseHead',
                projector=dict(type='densecl.ConvMLP', channels=(512, script.DIM + extra)),
                matching=dict(type='densecl.MostSimilar', of='features'),
                objective=objective,
                pairs=((0, 1), (1, 0)),
            )
        ),
    )


@pytest.mark.parametrize('name', script.CHOICES)
def test_two_steps(name):
    model = build(script.CHOICES[name]).train()
    model.clock.total, model.clock.epoch = 2, 1
    views = Views(
        images=list(torch.randn(2, 4, 3, 64, 64)),
        boxes=[torch.zeros(4, 4)] * 2,
        flipped=[torch.zeros(4, dtype=torch.bool)] * 2,
        source_sizes=torch.ones(4, 2),
        indices=torch.tensor([3, 1, 7, 2]),
        paths=[''] * 4,
        photometric=[None] * 2,
        labels=torch.tensor([0, 1, 0, 1]),
    )
    for _ in range(2):
        loss = model(views, mode='loss')['loss_dense']
        model.zero_grad()
        loss.backward()
        assert loss.isfinite()
        assert all(p.grad.isfinite().all() for p in model.backbone.parameters())
        assert any((p.grad != 0).any() for p in model.heads.dense.projector.parameters())
        model.after_optimizer_step()
