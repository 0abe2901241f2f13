"""Run by test_sparse_of_two_processes.py: steps of a masked ResNet with SyncBatchNorm.

Active cells are not equally many in the processes: statistics, and the mean of the loss, are of all of them.
"""

import torch
import torch.distributed as dist
from torch import nn

from densecl.distributed import world_size
from densecl.models.pretrainers import SharedPretrainer
from densecl.registry import MODELS
from densecl.structures import Views
from tests.distributed.steps import own
from tests.models.heads.made import views_of

BATCH, STEPS = 4, 2


@MODELS.register_module(name='PlainDecoder')
class PlainDecoder(nn.Module):
    """Convolutions of the last level, without norm: torch's SyncBatchNorm of a dense map wants a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(512, 8, 1), nn.Conv2d(8, 32 * 32 * 3, 3, padding=1))

    def forward(self, levels, mask):
        return self.layers(levels[-1])


def views(step: int) -> Views:
    """This process's part of the batch."""
    generator = torch.Generator().manual_seed(step)
    images = torch.randn(BATCH, 3, 64, 64, dtype=torch.float64, generator=generator)
    hidden = torch.rand(BATCH, 2, 2, generator=generator) < torch.tensor([0.2, 0.2, 0.8, 0.8])[:, None, None]
    hidden[:, 0, 0], hidden[2:, 1, 1] = False, True
    mine = own(BATCH)
    more = dict(masks=[hidden[mine]], hidden_counts=[(0, 4)])
    return views_of([images[mine]], indices=torch.arange(BATCH)[mine], **more)


def everything() -> dict:
    """Losses of all steps (mean over ranks), each step's gradients, and the state at the end."""
    torch.manual_seed(0)
    head = dict(
        units='densecl.DecodedCells',
        projector=dict(type='densecl.PlainDecoder'),
        target=dict(type='densecl.Pixels', patch=32, normalise=True),
        objective='densecl.Reconstruction',
        pairs=((0, 0),),
    )
    backbone = dict(type='densecl.TorchvisionResNet', arch='resnet18')
    model = SharedPretrainer(backbone=backbone, heads=dict(pixels=head)).double()
    model = nn.SyncBatchNorm.convert_sync_batchnorm(model).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    losses, gradients = [], []
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = model(views(step), mode='loss')['loss_pixels']
        loss.backward()
        for parameter in model.parameters():  # torch's DDP takes SyncBatchNorm on a GPU only
            dist.all_reduce(parameter.grad)
            parameter.grad /= world_size()
        total = loss.detach().clone()
        dist.all_reduce(total)
        losses.append(total / world_size())
        gradients.append({n: p.grad.norm() for n, p in model.named_parameters()})
        optimizer.step()
    return dict(losses=torch.stack(losses), gradients=gradients, state=model.backbone.state_dict())
