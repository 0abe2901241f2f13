"""The backbone waits, then learns; its batch statistics are held where that is asked for."""

from pathlib import Path

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from densecl.engine.hooks import HeadsFirstHook

SCRIPT = Path(__file__).with_name('heads_first.py')


class Model(BaseModel):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.backbone[0].bias.requires_grad_(False)  # frozen by somebody else: stays so
        self.head = nn.Linear(4, 1)
        self.seen = []

    def forward(self, inputs, mode='loss'):
        weights = self.backbone[0].weight.detach().sum().item(), self.backbone[1].running_mean.clone()
        self.seen.append(
            (*weights, self.head.weight.detach().sum().item(), self.backbone[0].weight.requires_grad)
        )
        return {'loss': self.head(self.backbone(inputs).mean((2, 3))).square().mean()}


def train(hook, tmp_path, iters=5):
    model = Model()
    runner = Runner(
        model=model,
        work_dir=str(tmp_path),
        train_dataloader=DataLoader([dict(inputs=image) for image in torch.randn(20, 3, 8, 8)], batch_size=4),
        train_cfg=dict(by_epoch=False, max_iters=iters),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        custom_hooks=[hook],
        experiment_name=tmp_path.name,
    )
    runner.train()
    return model


@pytest.mark.parametrize('norm_eval', [False, True])
def test_backbone_waits_then_learns(norm_eval, tmp_path):
    model = train(HeadsFirstHook(iters=3, norm_eval=norm_eval), tmp_path)
    weights, means, heads, flags = zip(*model.seen, strict=True)
    assert flags == (False, False, False, True, True)
    assert len(set(weights[:4])) == 1, 'untouched while it waits'
    assert weights[4] != weights[3], 'then it learns'
    assert len(set(heads)) == 5, 'the head learns from the first step on'
    assert all(torch.equal(mean, torch.zeros(4)) for mean in means[:4])
    assert torch.equal(model.backbone[1].running_mean, torch.zeros(4)) is norm_eval
    assert model.backbone[0].weight.requires_grad and not model.backbone[0].bias.requires_grad


def test_a_run_that_ends_early_leaves_nothing_stopped(tmp_path):
    model = train(HeadsFirstHook(iters=100), tmp_path, iters=2)
    assert model.backbone[0].weight.requires_grad


def test_without_waiting(tmp_path):
    model = train(HeadsFirstHook(), tmp_path, iters=2)
    assert model.seen[0][3] and model.seen[1][0] != model.seen[0][0]
    assert not torch.equal(model.backbone[1].running_mean, torch.zeros(4))


def test_negative_length():
    with pytest.raises(ValueError, match='iters must be at least 0, got -1'):
        HeadsFirstHook(iters=-1)


def test_two_processes_equal_one(over_processes):
    (one,) = over_processes(SCRIPT, 1)
    for two in over_processes(SCRIPT, 2):
        for name, value in one.items():
            torch.testing.assert_close(two[name], value, rtol=1e-5, atol=1e-6, msg=name)
