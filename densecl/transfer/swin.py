"""Reads Swin transformers of many projects and gives them timm's names."""

import re
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from .network import Hints, Network, blocks_in, filled, timm_map
from .rename import Rules, renamed
from .timm_names import feature_names
from .vits import filled_mm

_BUFFERS: Rules = ((r'.*(relative_position_index|attn_mask)$', ''),)
_TORCHVISION: Rules = (
    (r'^features\.0\.0\.', 'patch_embed.proj.'), (r'^features\.0\.2\.', 'patch_embed.norm.'),
    *((rf'^features\.{2 * i}\.', f'layers.{i}.downsample.') for i in (1, 2, 3)),
    *((rf'^features\.{2 * i + 1}\.', f'layers.{i}.blocks.') for i in range(4)),
    (r'\.mlp\.0\.', '.mlp.fc1.'), (r'\.mlp\.3\.', '.mlp.fc2.'),
)  # fmt: skip
_MM: Rules = (
    (r'^patch_embed\.projection\.', 'patch_embed.proj.'), (r'^stages\.', 'layers.'),
    (r'\.attn\.w_msa\.', '.attn.'), (r'\.ffn\.layers\.0\.0\.', '.mlp.fc1.'),
    (r'\.ffn\.layers\.1\.', '.mlp.fc2.'),
)  # fmt: skip
_RULES = {'torchvision': _TORCHVISION, 'mm': _MM}


def read_swin(tensors: dict[str, Tensor], hints: Hints, names: str) -> Network | None:
    """Read a Swin transformer, version 1 (no prefix); also for timm's and the authors' names."""
    named = renamed(tensors, (*_RULES.get(names, ()), *_BUFFERS))
    if 'patch_embed.norm.weight' not in named:
        return None
    if names == 'mm':
        named = {k: _unfolded(v) if '.downsample.' in k else v for k, v in named.items()}
    if 'layers.0.downsample.reduction.weight' in named:  # timm merges patches before a stage, others after it
        named = {re.sub(r'^layers\.(\d)\.downsample', _next, k): v for k, v in named.items()}
        names = 'official' if names == 'timm' else names
    named = {k: v for k, v in named.items() if k.startswith(('patch_embed.', 'layers.'))}
    backbone, title = _config(named)
    if names == 'mm':  # mm also shifts windows that cover the whole map
        backbone |= dict(always_partition=True)
    original = _original(tensors, backbone, names)
    return Network(title, backbone, feature_names(named), names, original=original)


def _next(match: re.Match) -> str:
    return f'layers.{int(match[1]) + 1}.downsample'


def _unfolded(tensor: Tensor) -> Tensor:
    """Reorder merged 2x2 patches, (..., C 4) -> (..., 4 C): mm merges by channel, others by patch."""
    parts = tensor.unflatten(-1, (-1, 4)).transpose(-1, -2)
    return parts[..., [0, 2, 1, 3], :].flatten(-2)


def _config(tensors: dict[str, Tensor]) -> tuple[dict, str]:
    depths = blocks_in(tensors, 'layers.{}.blocks.')
    tables = [tensors[f'layers.{i}.blocks.0.attn.relative_position_bias_table'] for i in range(len(depths))]
    window, width = (int(len(tables[0]) ** 0.5) + 1) // 2, len(tensors['patch_embed.norm.weight'])
    backbone = dict(
        type='TimmBackbone',
        model_name='swin_tiny_patch4_window7_224',
        embed_dim=width,
        depths=depths,
        num_heads=tuple(table.shape[1] for table in tables),
        window_size=window,
        img_size=32 * window,
    )
    sizes = {(96, 2, 6, 2): 'T', (96, 2, 18, 2): 'S', (128, 2, 18, 2): 'B', (192, 2, 18, 2): 'L'}
    size = sizes.get((width, *depths[1:]), f'{width} {depths}')
    return backbone, f'Swin-{size}, window {window}'


def _original(tensors: dict, backbone: dict, names: str) -> Callable | None:
    maps = {
        'torchvision': _torchvision_map,
        'mm': _mm_map,
        'timm': _timm_last_map,
        'official': _timm_last_map,
    }
    return partial(maps[names], tensors, backbone) if names in maps else None


@torch.no_grad()
def _torchvision_map(tensors: dict, backbone: dict, images: Tensor) -> Tensor:
    from torchvision.models import SwinTransformer

    window = [backbone['window_size']] * 2
    sizes = [list(backbone[key]) for key in ('depths', 'num_heads')]
    model = SwinTransformer([4, 4], backbone['embed_dim'], *sizes, window)
    return filled(model, tensors, ('head.', 'norm.')).features(images).permute(0, 3, 1, 2)


@torch.no_grad()
def _mm_map(tensors: dict, backbone: dict, images: Tensor) -> Tensor:
    """The last map of mm's network, without its norm, as that is not in the backbone."""
    from mmdet.models.backbones import SwinTransformer

    options = {k: backbone[k] for k in ('depths', 'num_heads', 'window_size')}
    model = SwinTransformer(embed_dims=backbone['embed_dim'], out_indices=(3,), **options)
    model.norm3 = torch.nn.Identity()
    filled_mm(model, tensors).eval()  # mm's returns nothing
    return model(images)[-1]


def _timm_last_map(tensors: dict, backbone: dict, images: Tensor) -> Tensor:
    """The last map of timm's whole network, with the file read by timm's reader of the authors' files."""
    import timm
    from timm.models.swin_transformer import checkpoint_filter_fn

    model = timm.create_model(**{k: v for k, v in backbone.items() if k != 'type'}, num_classes=0)
    named = checkpoint_filter_fn(tensors, model)
    named = {k: v for k, v in named.items() if k.startswith(('patch_embed.', 'layers.'))}
    return timm_map(filled(model, named, ('norm.', 'head.')))(images)
