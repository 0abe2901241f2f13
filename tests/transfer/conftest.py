"""A pretraining checkpoint of a real (small) MoCo pretrainer, and a photo-like image."""

import pytest
import torch
from mmengine.config import Config
from torch import nn

from densecl.registry import MODELS

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


def scramble(module: nn.Module, seed: int) -> nn.Module:
    """Give every tensor, batch statistics included, values of its own that keep features finite."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in module.state_dict().items():
        if tensor.ndim == 4:
            fan = tensor[0].numel()
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * (2 / fan) ** 0.5)
        elif name.endswith(('running_var', 'bn1.weight', 'bn2.weight', 'bn3.weight')):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.5 + 0.5)
        elif tensor.is_floating_point():
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.1)
    return module


def pretrainer_config(depth: int = 18, **backbone) -> dict:
    """The model config of a small MoCo v2."""
    width = 512 if depth < 50 else 2048
    return dict(
        type='MomentumPretrainer',
        momentum=0.99,
        channels_last=False,  # the layout of what is compared with: differences are exactly 0
        data_preprocessor=dict(type='PretrainDataPreprocessor', mean=MEAN, std=STD),
        backbone=dict(type='mmdet.ResNet', depth=depth, norm_eval=False) | backbone,
        heads=dict(
            image=dict(
                projector=dict(type='MLP', channels=(width, 32, 16)),
                objective=dict(type='InfoNCE', temperature=0.2, queue=32, dim=16),
            )
        ),
    )


def make_checkpoint(path, depth: int = 18, **backbone) -> nn.Module:
    """Write an mmengine checkpoint of such a pretrainer; returns the model."""
    config = Config(dict(model=pretrainer_config(depth, **backbone)))
    model = MODELS.build(config.model).eval()
    scramble(model.backbone, 1)
    scramble(model.target.backbone, 2)
    meta = dict(cfg=config.pretty_text, epoch=3, iter=30, experiment_name='mocov2_small')
    torch.save(dict(meta=meta, state_dict=model.state_dict()), path)
    return model


@pytest.fixture(scope='session')
def pretrained(tmp_path_factory):
    """(path of the checkpoint, the pretrainer) of a ResNet-18."""
    path = tmp_path_factory.mktemp('pretrained') / 'epoch_3.pth'
    return path, make_checkpoint(path)


@pytest.fixture(scope='session')
def pretrained50(tmp_path_factory):
    """(path of the checkpoint, the pretrainer) of a ResNet-50."""
    path = tmp_path_factory.mktemp('pretrained50') / 'epoch_3.pth'
    return path, make_checkpoint(path, 50)


@pytest.fixture(scope='session')
def image():
    """uint8 (64, 96, 3), RGB, with a gradient and noise."""
    generator = torch.Generator().manual_seed(3)
    ramp = torch.linspace(0, 200, 96).view(1, 96, 1).expand(64, 96, 3)
    return (ramp + torch.rand(64, 96, 3, generator=generator) * 55).to(torch.uint8)


@pytest.fixture(scope='session')
def batch(image):
    """The image, normalised: (1, 3, 64, 96)."""
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    return ((image.permute(2, 0, 1).float() - mean) / std)[None]
