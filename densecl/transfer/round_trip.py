"""After an export: loads the file as its user will, and compares features with the checkpoint's."""

from pathlib import Path

import torchvision
from torch import Tensor, nn

from densecl.inputs import parse_config
from densecl.registry import MODELS

from .check import feature_difference, normalised
from .dialects import backbone_part
from .export import find_prefix
from .load import load_backbone
from .prefixes import under
from .read import Weights, read_weights
from .record import training_record
from .regions import stage_part
from .start import find_start
from .timm_names import is_timm, whole_model
from .vit import DIALECTS


def check_export(checkpoint: str | Path | Weights, exported: str | Path, branch: str, image: Tensor) -> float:
    """Compare features of the checkpoint's backbone with those of the model that the export is for.

    The first is built from the checkpoint's config; every key must match. The second is the ResNet of
    torchvision, timm, mmdet or mmseg, or the ViT of timm or mmseg, with the weights of the exported file.

    Args:
        checkpoint: what was exported.
        exported: the file written.
        branch: ``online`` or ``target``.
        image: uint8 (H, W, 3), RGB.

    Returns:
        The largest absolute difference of the last feature maps; it should be 0 or a rounding error.

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
        raise ValueError(f'{weights.source} carries no config, so that its backbone cannot be built')
    if not stage.keys() <= tensors.keys():  # C4: the last stage was pretrained as a part of a head
        config |= {'num_stages': 4, 'out_indices': (3,)}
        tensors = stage | tensors
    source = MODELS.build(_offline(config))
    source.load_state_dict(tensors)
    if Path(exported).is_dir():  # Hugging Face's folder has its own config
        return feature_difference(source, find_start(exported).build(), normalised(image, meta))
    dialect = read_weights(exported).meta.get('dialect')
    user = _user_vit(dialect, meta) if meta.get('patch_size') else _user_model(dialect, meta, config)
    load_backbone(user, exported)
    return feature_difference(source, user, normalised(image, meta))


def _offline(config: dict) -> dict:
    """A backbone's config without initial weights and mask, and with the default strides of the user's
    model."""
    # Strides and dilations are not in the weights; a recipe for small images dilates the last stage.
    left_out = ('init_cfg', 'pretrained', 'strides', 'dilations', 'hidden')
    if is_timm({'backbone': config.get('type')}):  # compare the last of all levels
        left_out += ('out_indices', 'output_stride')
    return {key: value for key, value in config.items() if key not in left_out}


def _user_model(dialect: str | None, meta: dict, config: dict) -> nn.Module:
    depth, stem, style = meta.get('depth'), meta.get('stem'), meta.get('style') or 'pytorch'
    if dialect == 'timm' and is_timm(meta):
        return whole_model(_offline(config))
    strange = stem is None or depth is None or config.get('base_channels', 64) != 64
    strange |= config.get('in_channels', 3) != 3
    if dialect in ('mmdet', 'mmseg') and not strange:
        kind = {'type': f'{dialect}.ResNet', 'depth': depth, 'deep_stem': stem == 'deep'}
        return MODELS.build(kind | {'style': style})
    if strange or stem == 'deep' or style == 'caffe':
        return MODELS.build(_offline(config))
    if dialect == 'timm':
        import timm

        return timm.create_model(f'resnet{depth}')
    return torchvision.models.get_model(f'resnet{depth}')


def _user_vit(dialect: str | None, meta: dict) -> nn.Module:
    same = {key: meta[key] for key in ('patch_size', 'num_heads')} | {'img_size': meta['image_size']}
    width, depth = meta['embed_dim'], meta['depth']
    if DIALECTS.get(dialect) == 'timm':
        from timm.models import VisionTransformer

        whole = {'num_classes': 0, 'dynamic_img_size': True, 'dynamic_img_pad': True}
        sizes = {'embed_dim': width, 'depth': depth, **whole, **same}
        if not meta['image_size']:  # rotary positions
            from timm import create_model

            return create_model(meta['arch'], **{k: v for k, v in sizes.items() if k != 'img_size'})
        return VisionTransformer(**sizes, **(meta.get('options') or {}))
    vit = {'type': 'mmseg.VisionTransformer', 'embed_dims': width, 'num_layers': depth}
    norm = {'norm_cfg': {'type': 'LN', 'eps': meta['norm_eps']}}
    return MODELS.build(vit | norm | {'patch_bias': True, 'final_norm': True} | same)
