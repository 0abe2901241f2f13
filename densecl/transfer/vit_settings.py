"""The settings of a vision transformer that its tensors do not show: heads, biases, epsilon."""

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from densecl.registry import MODELS

from .vit import (
    RELATIVE,
    distance_tables,
    grid_of,
    side_of_distances,
    tables_along_sides,
    to_dialect,
    vit_dialect,
)

# Biases in a file that a model without them would ignore without an error.
_BIASES = {
    'patch_embed.projection.bias': 'patch_bias=True',
    'layers.0.attn.attn.in_proj_bias': 'qkv_bias=True',
    'blocks.0.attn.qkv.bias': 'qkv_bias=True',
}


def vit_record(config: dict, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """The settings of a ViT that an export records beside its tensors; {} for other backbones.

    Args:
        config: the backbone's config, {} if unknown.
        tensors: the backbone's tensors, without prefix.

    Returns:
        ``depth``, ``embed_dim``, ``num_heads`` (None if unknown, as no shape depends on it), ``patch_size``,
        ``image_size`` (of the position embedding, 0 without one), ``norm_eps``, ``arch`` (timm's name),
        ``positions`` (``'learned'``, ``'relative'`` or ``'rotary'``; fixed ones are saved like learned ones)
        and ``options``: timm's arguments for layer scale, register tokens, a table of relative positions for
        each block, and a missing final norm. For a ViTDet also ``relative_positions``.
    """
    if vit_dialect(tensors) is None:
        return {}
    patch = to_dialect(tensors, 'timm')['patch_embed.proj.weight']
    depth, width = _sizes(tensors)
    return {
        'depth': depth,
        'embed_dim': width,
        'num_heads': _heads_in(config),
        'patch_size': patch.shape[-1],
        'image_size': _side(tensors) * patch.shape[-1],
        'norm_eps': _eps_in(config),
        'arch': config.get('arch') if _is_timm(config) else None,
        'positions': _positions(tensors),
        'options': _options(tensors),
    }


def _side(tensors: dict[str, Tensor]) -> int:
    """Number of patches along a side of the positions' grid; 0 without such a grid."""
    if tables := distance_tables(tensors):
        return side_of_distances(tensors[tables[0]]) or 0
    return grid_of(tensors)[1]


def _positions(tensors: dict[str, Tensor]) -> str:
    return 'relative' if distance_tables(tensors) else 'learned' if 'pos_embed' in tensors else 'rotary'


def _heads_in(config: dict) -> int | None:
    """Number of attention heads: the config's or, if missing, its architecture's."""
    if config.get('num_heads'):
        return config['num_heads']
    if _is_timm(config):
        try:
            with torch.device('meta'):
                return MODELS.build(config).num_heads
        except ImportError:  # unknown without timm
            return None
    if config.get('type') == 'mmseg.VisionTransformer':
        from mmseg.models.backbones import VisionTransformer

        return inspect.signature(VisionTransformer).parameters['num_heads'].default
    return None


def _eps_in(config: dict) -> float | None:
    if config.get('type') == 'mmseg.VisionTransformer':
        return (config.get('norm_cfg') or {}).get('eps', 1e-5)
    if not _is_timm(config):
        return None
    return 1e-5 if any(kind in str(config.get('arch')) for kind in ('dinov3', '_clip_')) else 1e-6


def _is_timm(config: dict) -> bool:
    return str(config.get('type')).rpartition('.')[2] in ('TimmViT', 'ViTDet')


def vit_mismatch(
    record: dict, given: dict[str, Tensor], wanted: dict[str, Tensor], backbone: nn.Module
) -> list[str]:
    """Reasons why a ViT with the same tensors computes something else, with the settings to change."""
    reasons = []
    heads = next((m.num_heads for m in backbone.modules() if hasattr(m, 'num_heads')), None)
    if record.get('num_heads') and heads and record['num_heads'] != heads:
        reasons.append(
            f'the file was trained with {record["num_heads"]} attention heads, the model has {heads}: '
            f'set backbone.num_heads={record["num_heads"]}'
        )
    for key, setting in _BIASES.items():
        if key in given and key not in wanted:
            reasons.append(f'the file has {key}, the model does not: set backbone.{setting}')
    sizes, own = _sizes(given), _sizes(wanted)
    if sizes != own:
        text = 'the file is a ViT of {} blocks of {} channels, the model has {} of {}'
        reasons.append(text.format(*sizes, *own))
    elif _positions(given) != _positions(wanted):
        kinds = [_positions(tensors) for tensors in (given, wanted)]
        reasons.append('the file has {} positions, the model {} ones: set backbone.arch'.format(*kinds))
    elif _has_own_tables(given) and RELATIVE in wanted:
        reasons.append(
            'the file has relative positions for each block, the model one table for all: set '
            'backbone.use_rel_pos_bias=True'
        )
    elif tables_along_sides(given) and not tables_along_sides(wanted):
        reasons.append(
            'the file has relative positions along height and width, the model has not: set '
            "backbone.type='densecl.ViTDet'"
        )
    elif 'pos_embed' in given and given['pos_embed'].shape != wanted['pos_embed'].shape:
        tokens = [tensors['pos_embed'].shape[1] for tensors in (given, wanted)]
        reasons.append(
            f'pos_embed is for {tokens[0]} tokens in the file and {tokens[1]} in the model; only square '
            'grids with a class token are resized: give the backbone a square img_size'
        )
    return reasons


def _sizes(tensors: dict[str, Tensor]) -> tuple[int, int]:
    """Numbers of blocks and channels."""
    numbers = {k.split('.')[1] for k in tensors if k.startswith(('blocks.', 'layers.'))}
    return len(numbers), len(to_dialect(tensors, 'timm')['patch_embed.proj.weight'])


def _has_own_tables(tensors: dict[str, Tensor]) -> bool:
    return distance_tables(tensors) not in ([], [RELATIVE])


def _options(tensors: dict[str, Tensor]) -> dict[str, Any]:
    options = {}
    if _has_own_tables(tensors):
        options['use_rel_pos_bias'] = True
    if tables_along_sides(tensors):
        options['relative_positions'] = True
    if 'norm.weight' not in to_dialect(tensors, 'timm'):
        options['final_norm'] = False
    if 'norm_pre.weight' in to_dialect(tensors, 'timm'):
        options['pre_norm'] = True  # CLIP
    if 'blocks.0.ls1.gamma' in tensors:
        options['init_values'] = 1.0
    if 'reg_token' in tensors:
        options['reg_tokens'] = tensors['reg_token'].shape[1]
        options['no_embed_class'] = grid_of(tensors)[0] == 0
    if 'blocks.0.attn.qkv.bias' not in to_dialect(tensors, 'timm'):
        options['qkv_bias'] = False
    return options


def vit_eps_warning(record: dict, backbone: nn.Module) -> list[str]:
    """A warning if the LayerNorms' epsilon differs, which changes features a little."""
    trained = record.get('norm_eps')
    eps = next((m.eps for m in backbone.modules() if isinstance(m, nn.LayerNorm)), None)
    if trained is None or eps in (None, trained):
        return []
    return [
        f'LayerNorm: trained with eps {trained:g}, the model has {eps:g}; set '
        f"backbone.norm_cfg=dict(type='LN', eps={trained:g})"
    ]


def vit_how_to_load(target: str, meta: dict) -> str:
    """How to build the model for an export to one of ``vit.DIALECTS``, with :func:`vit_record`'s settings."""
    size, patch, heads = meta['image_size'], meta['patch_size'], meta['num_heads'] or '<as pretrained>'
    if target in ('timm', 'safetensors'):
        options = ''.join(f', {key}={value!r}' for key, value in (meta.get('options') or {}).items())
        sizes = f'patch_size={patch}, embed_dim={meta["embed_dim"]}, depth={meta["depth"]}, num_heads={heads}'
        if 'relative_positions' in (meta.get('options') or {}):
            backbone = f"dict(type='densecl.ViTDet', img_size={size}, {sizes})"
            return f'backbone={backbone}, window and global_blocks as trained, and --pretrained FILE'
        made = f"timm's VisionTransformer(img_size={size}, {sizes}{options})"
        if 'beit' in str(meta.get('arch')):
            own = 'use_rel_pos_bias' in meta['options']
            tables = f'use_shared_rel_pos_bias={not own}, use_rel_pos_bias={own}'
            norm = f'use_fc_norm={"final_norm" in meta["options"]}'
            made = f'timm.create_model({meta["arch"]!r}, img_size={size}, {sizes}, {tables}, {norm})'
        elif '_clip_' in str(meta.get('arch')):  # with its activation
            made = f'timm.create_model({meta["arch"]!r}, img_size={size}, {sizes})'
        elif 'capi' in str(meta.get('arch')):
            registers = meta['options']['reg_tokens']
            made = f'densecl.models.backbones.capi.capi_vit({sizes}, num_reg_tokens={registers})'
        elif not size:
            made = f'timm.create_model({meta.get("arch")!r}, {sizes})'
        return f'{made} and load_state_dict(strict=False), lacks head only; or --pretrained FILE'
    return (
        f"backbone=dict(type='mmseg.VisionTransformer', img_size={size}, patch_size={patch}, "
        f'embed_dims={meta["embed_dim"]}, num_layers={meta["depth"]}, num_heads={heads}, patch_bias=True, '
        f"norm_cfg=dict(type='LN', eps={meta['norm_eps'] or 1e-6:g})) and --pretrained FILE "
        '(final_norm=True for the features of pretraining; another img_size resizes pos_embed)'
    )
