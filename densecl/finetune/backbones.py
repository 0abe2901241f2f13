"""The backbone of a detector or segmentor: the pretraining's, with the levels that the head needs."""

import re
from dataclasses import dataclass
from typing import Any

from densecl.transfer.recognise import OF_THE_RUN

from .start import StartFile

_RESNET = (
    'depth',
    'in_channels',
    'style',
    'deep_stem',
    'avg_down',
    'stem_channels',
    'base_channels',
    'groups',
    'base_width',
)
_KINDS = {'ResNet': 'ResNet', 'ResNeXt': 'ResNeXt', 'ResNetV1c': 'ResNet', 'ResNetV1d': 'ResNet'}
_STEMS = {'ResNetV1c': ('deep_stem',), 'ResNetV1d': ('deep_stem', 'avg_down')}
_PYRAMID = {'slim': (8, 16, 32), 'full': (4, 8, 16, 32)}


@dataclass(frozen=True)
class Levels:
    """A backbone config and its output.

    Attributes:
        config: config with ``out_indices``.
        strides, channels: strides and channels of its levels.
        transformer: there is only one map with one stride, so a detector needs a simple pyramid.
    """

    config: dict[str, Any]
    strides: tuple[int, ...]
    channels: tuple[int, ...]
    transformer: bool = False


def pyramid_levels(start: StartFile, size: str) -> Levels:
    """Levels for a detector: strides 8 to 32 if slim, 4 to 32 if full; for a transformer its last map.

    Raises:
        ValueError: the backbone lacks such levels.
    """
    if is_transformer(start):
        return transformer_levels(start)
    levels = all_levels(plain(start.backbone), 'mmdet')
    wanted = _PYRAMID[size]
    missing = sorted(set(wanted) - set(levels.strides))
    if missing:
        raise ValueError(
            f'{start.title}: the backbone has levels of strides {levels.strides}, '
            f'a {size} detector needs {wanted}'
        )
    return _choose(levels, [len(levels.strides) - 1 - levels.strides[::-1].index(s) for s in wanted])


def last_level(start: StartFile) -> Levels:
    """Level for a segmentor: the last one, at stride 16 if the backbone can be dilated, else unchanged."""
    if is_transformer(start):
        return transformer_levels(start)
    config = plain(start.backbone)
    if config['type'] in _KINDS.values():
        config = {**config, 'strides': (1, 2, 2, 1), 'dilations': (1, 1, 1, 2), 'contract_dilation': False}
        return _choose(all_levels(config, 'mmseg'), [3])
    try:
        levels = all_levels({**config, 'output_stride': 16}, 'mmseg')
    except (TypeError, NotImplementedError, AssertionError):  # not every timm model can be dilated
        levels = all_levels(config, 'mmseg')
    return _choose(levels, [len(levels.strides) - 1])


def plain(backbone: dict[str, Any]) -> dict[str, Any]:
    """The pretraining's backbone without settings only for pretraining: levels, dilation, freezing."""
    kind = str(backbone['type']).split('.')[-1]
    if kind == 'TorchvisionResNet' and (
        match := re.fullmatch(r'resnet(\d+)', backbone.get('arch', 'resnet50'))
    ):
        backbone, kind = {'depth': int(match[1]), 'style': 'pytorch'}, 'ResNet'
    if kind in _KINDS:
        kept = {key: backbone[key] for key in _RESNET if key in backbone}
        stem = dict.fromkeys(_STEMS.get(kind, ()), True)
        return {'type': _KINDS[kind], 'depth': 50, 'style': 'pytorch', **stem, **kept}
    own = ('out_indices', 'output_stride', 'frozen_stages', 'init_cfg', 'drop_path_rate')
    scope = '' if '.' in str(backbone['type']) else 'densecl.'
    return {k: v for k, v in backbone.items() if k not in own} | {'type': f'{scope}{backbone["type"]}'}


def all_levels(config: dict[str, Any], scope: str) -> Levels:
    """Build a backbone (from ``scope``, ``mmdet`` or ``mmseg``, if its type names none) and inspect its maps.

    Raises:
        ValueError: its levels are no maps (B, C, H, W).
    """
    import torch

    from densecl.registry import MODELS

    name = config['type'] if '.' in config['type'] else f'{scope}.{config["type"]}'
    model = MODELS.build({**config, 'type': name})
    model.eval()  # a separate line, as it returns None for mm's backbones
    with torch.no_grad():
        maps = model(torch.zeros(1, config.get('in_channels') or config.get('in_chans') or 3, 128, 128))
    maps = list(maps) if isinstance(maps, (list, tuple)) else [maps]
    if any(m.ndim != 4 for m in maps) or any(m.shape[2] != m.shape[3] for m in maps):
        shapes = [tuple(m.shape) for m in maps]
        raise ValueError(f'{config["type"]}: expected levels (B, C, H, W), got shapes {shapes}')
    return Levels(config, tuple(128 // m.shape[2] for m in maps), tuple(m.shape[1] for m in maps))


def _choose(levels: Levels, indices: list[int]) -> Levels:
    config = {**levels.config, 'out_indices': tuple(indices)}
    strides, channels = levels.strides, levels.channels
    return Levels(config, tuple(strides[i] for i in indices), tuple(channels[i] for i in indices))


def is_transformer(start: StartFile) -> bool:
    """Whether it is a plain vision transformer."""
    return bool(start.record.get('patch_size') and start.record.get('embed_dim'))


def transformer_levels(start: StartFile) -> Levels:
    """mmseg's stock ViT, as in the export's ``how_to_load``; ``TimmViT`` if mmseg's lacks a part of it.

    Raises:
        ValueError: the number of attention heads is not known; tensors do not show it.
    """
    record = start.record
    if not record.get('num_heads'):
        raise ValueError(
            f'{start.title}: the number of attention heads is not known; export the run with densecl'
        )
    stock = record['positions'] == 'learned' and not record['options']
    config = _stock_vit(start) if stock else _timm_vit(start)
    return Levels(config, (record['patch_size'],), (record['embed_dim'],), transformer=True)


def _stock_vit(start: StartFile) -> dict[str, Any]:
    record = start.record
    return {
        'type': 'mmseg.VisionTransformer',
        'img_size': record['image_size'],
        'patch_size': record['patch_size'],
        'embed_dims': record['embed_dim'],
        'num_layers': record['depth'],
        'num_heads': record['num_heads'],
        'in_channels': len(start.mean),
        'patch_bias': True,
        'final_norm': True,
        'norm_cfg': {'type': 'LN', 'eps': record.get('norm_eps') or 1e-6},
    }


def _timm_vit(start: StartFile) -> dict[str, Any]:
    """``TimmViT``, for networks with layer scale, register tokens, or rotary or relative positions."""
    kept = {k: v for k, v in plain(start.backbone).items() if k not in OF_THE_RUN}
    return kept if kept['type'].endswith('ViTDet') else {**kept, 'output_cls_token': False}
