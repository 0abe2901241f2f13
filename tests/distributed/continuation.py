"""Run by test_continuation_of_two_processes.py: four steps of a ResNet, in the first two of which the heads
train alone, and of a transformer with low-rank adapters."""

import torch
from torch.nn.parallel import DistributedDataParallel

from densecl.distributed import world_size
from densecl.models.pretrainers import MomentumPretrainer
from tests.distributed.steps import own
from tests.distributed.two_processes import views


def build() -> MomentumPretrainer:
    torch.manual_seed(0)
    anchor = dict(target='start', units='densecl.Cells', pairs=((0, 0), (1, 1)))
    model = MomentumPretrainer(
        backbone=dict(type='densecl.TorchvisionResNet', arch='resnet18'),
        heads=dict(
            image=dict(
                units='densecl.Image',
                matching='densecl.SameRow',
                projector=dict(type='densecl.MLP', channels=(512, 8)),
                objective=dict(type='densecl.InfoNCE', queue=13, dim=8),
            ),
            gram=dict(anchor, matching='densecl.SameRow', objective='densecl.Gram'),
            features=dict(anchor, matching='densecl.SameRow', objective='densecl.Regression'),
        ),
        momentum=0.9,
        batch_statistics='held',
        heads_first=2,
        frozen_layers=2,
    )
    model.init_weights()
    return model.double().train()


def build_adapted() -> MomentumPretrainer:
    torch.manual_seed(0)
    image = dict(
        units='densecl.Image',
        matching='densecl.SameRow',
        projector=dict(type='densecl.MLP', channels=(192, 8)),
        objective=dict(type='densecl.InfoNCE', queue=13, dim=8),
    )
    model = MomentumPretrainer(
        backbone=dict(type='densecl.TimmViT', arch='vit_tiny_patch16_224', img_size=32, depth=1),
        heads=dict(image=image),
        momentum=0.9,
        low_rank=2,
    )
    model.init_weights()
    return model.double().train()


def everything() -> dict:
    moved, state = trained(build(), 'layer4.0.conv1.weight')
    up, adapted = trained(build_adapted(), 'blocks.0.attn.qkv.low_rank_up')
    return dict(moved=moved, state=state, moved_low_rank=up, adapted=adapted)


def trained(model: MomentumPretrainer, watched: str) -> tuple[list[bool], dict[str, torch.Tensor]]:
    """Of four steps: whether a parameter of the backbone moved in each, and the state at the end."""
    wrapped = DistributedDataParallel(model, broadcast_buffers=False) if world_size() > 1 else model
    optimizer = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), 0.1, momentum=0.9)
    moved = []
    for _ in range(4):
        before = model.backbone.get_parameter(watched).clone()
        optimizer.zero_grad()
        losses = wrapped(views(own(4)), mode='loss')
        sum(value for name, value in losses.items() if name.startswith('loss_')).backward()
        model.before_optimizer_step()
        optimizer.step()
        model.after_optimizer_step()
        moved.append(not torch.equal(before, model.backbone.get_parameter(watched)))
    return moved, model.state_dict()
