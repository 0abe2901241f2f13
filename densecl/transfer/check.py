"""Checks on an image whether a loaded backbone computes the same as the pretrained one."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .mismatch import model_images
from .network import IMAGENET_MEAN, IMAGENET_STD

IMAGENET = dict(mean=list(IMAGENET_MEAN), std=list(IMAGENET_STD))


@torch.no_grad()
def backbone_features(model: nn.Module, images: Tensor, tokens: bool = False) -> tuple[Tensor, ...]:
    """Feature maps of a backbone in eval mode, its mode restored afterwards.

    Args:
        model: a detector, segmentor or pretrainer (``.backbone`` is used), an mm backbone, a
            torchvision or timm ResNet, or a timm ViT.
        images: (B, 3, H, W), normalised.
        tokens: keep class tokens in the output; by default they are removed.

    Returns:
        The output of an mm backbone; the four stages of another ResNet; a timm ViT's last, normalised map.
    """
    backbone = getattr(model, 'backbone', model)
    modes = {module: module.training for module in backbone.modules()}
    backbone.eval()
    try:
        maps = _maps(backbone, images)
    finally:
        for module, mode in modes.items():
            module.training = mode
    maps = tuple(maps) if isinstance(maps, Sequence) else (maps,)
    if not tokens and getattr(backbone, 'output_cls_token', False):
        # Class tokens are (map, token) pairs in mmseg, and a last level in densecl.
        maps = tuple(m[0] for m in maps) if isinstance(maps[0], Sequence) else maps[:-1]
    return maps


def _maps(backbone: nn.Module, images: Tensor) -> Tensor | Sequence[Tensor]:
    if hasattr(backbone, 'fc'):
        return _stages(backbone, images)
    if hasattr(backbone, 'forward_intermediates'):
        return backbone.forward_intermediates(images, indices=1, norm=True, intermediates_only=True)
    return backbone(images)


def _stages(resnet: nn.Module, images: Tensor) -> list[Tensor]:
    """The stages of a torchvision or timm ResNet, whose ``forward`` only gives class scores."""
    activation = getattr(resnet, 'act1', None) or resnet.relu
    hidden, maps = resnet.maxpool(activation(resnet.bn1(resnet.conv1(images)))), []
    for stage in (resnet.layer1, resnet.layer2, resnet.layer3, resnet.layer4):
        hidden = stage(hidden)
        maps.append(hidden)
    return maps


def feature_difference(first: nn.Module, second: nn.Module, images: Tensor) -> float:
    """Largest absolute difference of two backbones' last maps on normalised (B, 3, H, W)."""
    return _largest_difference((first, images), (second, images))


def compare_features(source: nn.Module, loaded: nn.Module, image: Tensor) -> float:
    """Largest difference of the last maps on one picture, with the normalisation of each model.

    In contrast to :func:`feature_difference` this also detects swapped channels and another mean or std.

    Args:
        source: the pretrainer, with its own data preprocessor, or any model with one.
        loaded: the detector or segmentor.
        image: (H, W, C), RGB if C is 3. With sides that are multiples of 32 there is no padding.
    """
    return _largest_difference(*((model, _as_fed(model, image)) for model in (source, loaded)))


def _largest_difference(*pairs: tuple[nn.Module, Tensor]) -> float:
    one, two = (backbone_features(model, images)[-1] for model, images in pairs)
    if one.shape != two.shape:
        raise ValueError(f'feature maps differ in shape: {tuple(one.shape)} and {tuple(two.shape)}')
    return (one - two).abs().max().item()


def _as_fed(model: nn.Module, image: Tensor) -> Tensor:
    seen = model_images(model)
    if seen is None or seen['mean'] is None:
        raise ValueError(
            f'{type(model).__name__} has no data_preprocessor with mean and std; '
            'normalise the image yourself and use feature_difference'
        )
    return normalised(image, seen).to(next(model.parameters()).device)


def sample_picture(height: int = 128, width: int = 160) -> Tensor:
    """A synthetic picture, uint8 (H, W, 3): waves with another length and direction in each channel."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing='ij')
    waves = [
        torch.sin(x / (3 + 4 * c) + y / (11 - 3 * c)) + torch.cos(x * y / (90 + 70 * c)) for c in range(3)
    ]
    return (127.5 + 60 * torch.stack(waves, dim=-1)).to(torch.uint8)


def normalised(image: Tensor, images: dict) -> Tensor:
    """(H, W, C) to (1, C, H, W), normalised by ``channel_order``, ``mean`` and ``std``, or ImageNet's.

    Raises:
        ValueError: the image has another number of channels than ``mean`` has values.
    """
    mean, std = (torch.tensor(images.get(k) or IMAGENET[k]).view(-1, 1, 1) for k in ('mean', 'std'))
    if image.shape[2] != len(mean):
        raise ValueError(f'the image has {image.shape[2]} channels, the model was trained on {len(mean)}')
    planes = image.permute(2, 0, 1).float()
    planes = planes.flip(0) if images.get('channel_order') == 'BGR' else planes
    return ((planes - mean) / std)[None]
