"""After an export: load the file the way its user will, and compare features with the source's."""

from pathlib import Path

import torch
from torch import Tensor, nn

from densecl.registry import MODELS

from .check import feature_difference
from .config_text import parse_config
from .dialects import backbone_part
from .export import find_prefix
from .load import load_backbone
from .prefixes import under
from .read import Weights, read_weights
from .record import training_record
from .regions import stage_part
from .vit import DIALECTS

IMAGENET = {'mean': [123.675, 116.28, 103.53], 'std': [58.395, 57.12, 57.375]}


def check_export(
    checkpoint: str | Path | Weights, exported: str | Path, branch: str, image: Tensor
) -> float:
    """Features of the checkpoint's own backbone against those of the model an export is for.

    The first is built from the config in the checkpoint and filled strictly, key by key; the second
    is torchvision's, timm's, mmdet's or mmseg's ResNet, or timm's or mmseg's ViT, filled from the
    exported file.

    Args:
        checkpoint: what was exported.
        exported: the file written.
        branch: ``online`` or ``target``.
        image: uint8 (H, W, 3), RGB.

    Returns:
        The largest absolute difference of the last feature maps; 0 or rounding.

    Raises:
        ValueError: the checkpoint has no config to build its backbone from.
    """
    weights = read_weights(checkpoint)
    prefix = find_prefix(weights, branch)
    tensors = backbone_part(under(weights.tensors, prefix))
    stage = stage_part(weights.tensors, prefix)
    meta = training_record(weights, stage | tensors, branch)
    config = (parse_config(meta['config']).get('model') or {}).get('backbone')
    if not config:
        raise ValueError(
            f'{weights.source} carries no config, so that its backbone cannot be built'
        )
    if not stage.keys() <= tensors.keys():  # C4: the last stage was pretrained in a head
        config, tensors = _with_last_stage(config), stage | tensors
    source = MODELS.build(_offline(config))
    source.load_state_dict(tensors)
    dialect = read_weights(exported).meta.get('dialect')
    user = _user_vit(dialect, meta) if meta.get('patch_size') else _user_model(dialect, meta, config)
    load_backbone(user, exported)
    return feature_difference(source, user, normalised(image, meta))


def _with_last_stage(config: dict) -> dict:
    """The config of a ResNet of three stages with the fourth, as a detector's C4 head has it."""
    return config | {'num_stages': 4, 'out_indices': (3,)}


def normalised(image: Tensor, meta: dict) -> Tensor:
    """uint8 (H, W, 3) RGB to (1, 3, H, W) as a backbone was trained on, or as ImageNet's are."""
    order = [2, 1, 0] if meta.get('channel_order') == 'BGR' else [0, 1, 2]
    mean, std = (torch.tensor(meta.get(k) or IMAGENET[k]).view(3, 1, 1) for k in ('mean', 'std'))
    return ((image.permute(2, 0, 1)[order].float() - mean) / std)[None]


def _offline(config: dict) -> dict:
    """A backbone's config without a file to start from, and with stock strides, as the user's model has.

    Strides and dilations are no part of the weights; a recipe for small images dilates the last stage.
    """
    left_out = ('init_cfg', 'pretrained', 'strides', 'dilations')
    return {key: value for key, value in config.items() if key not in left_out}


def _user_model(dialect: str | None, meta: dict, config: dict) -> nn.Module:
    depth, stem = meta.get('depth'), meta.get('stem')
    if stem is None or depth is None or config.get('base_channels', 64) != 64:
        return MODELS.build(_offline(config))
    if dialect in ('mmdet', 'mmseg'):
        kind = {'type': f'{dialect}.ResNet', 'depth': depth, 'deep_stem': stem == 'deep'}
        return MODELS.build(kind | {'style': meta.get('style') or 'pytorch'})
    if stem == 'deep' or meta.get('style') == 'caffe':
        return MODELS.build(_offline(config))
    if dialect == 'timm':
        import timm

        return timm.create_model(f'resnet{depth}')
    import torchvision

    return torchvision.models.get_model(f'resnet{depth}')


def _user_vit(dialect: str | None, meta: dict) -> nn.Module:
    same = {key: meta[key] for key in ('patch_size', 'num_heads')} | {'img_size': meta['image_size']}
    if DIALECTS.get(dialect) == 'timm':
        from timm.models import VisionTransformer

        return VisionTransformer(
            embed_dim=meta['embed_dim'], depth=meta['depth'], num_classes=0, dynamic_img_size=True,
            dynamic_img_pad=True, **same,
        )  # fmt: skip
    vit = {'type': 'mmseg.VisionTransformer', 'embed_dims': meta['embed_dim']}
    norm = {'norm_cfg': {'type': 'LN', 'eps': meta['norm_eps']}}
    whole = {'num_layers': meta['depth'], 'patch_bias': True, 'final_norm': True}
    return MODELS.build(vit | norm | whole | same)
