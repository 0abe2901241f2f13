"""Reads ConvNeXt and ConvNeXt V2 of many projects and gives them timm's names."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from .network import Hints, Network, blocks_in, filled, timm_map
from .rename import Rules, renamed
from .timm_names import feature_names

# Names of a block's parts in facebookresearch, mmpretrain and transformers.
_PARTS: Rules = (
    (r'\.(dwconv|depthwise_conv)\.', '.conv_dw.'), (r'\.layernorm\.', '.norm.'),
    (r'\.(pwconv|pointwise_conv)(\d)\.', r'.mlp.fc\2.'), (r'\.grn\.(gamma|weight)$', '.mlp.grn.weight'),
    (r'\.grn\.(beta|bias)$', '.mlp.grn.bias'), (r'\.layer_scale_parameter$', '.gamma'),
)  # fmt: skip
_OFFICIAL: Rules = (
    (r'^downsample_layers\.0\.', 'stem.'), (r'^downsample_layers\.(\d)\.', r'stages.\1.downsample.'),
    (r'^stages\.(\d)\.(\d+)\.', r'stages.\1.blocks.\2.'), *_PARTS, (r'^norm\d?\.', 'head.norm.'),
)  # fmt: skip
_HUGGING_FACE: Rules = (
    (r'^embeddings\.patch_embeddings\.', 'stem.0.'), (r'^embeddings\.layernorm\.', 'stem.1.'),
    (r'^encoder\.stages\.(\d)\.downsampling_layer\.', r'stages.\1.downsample.'),
    (r'^encoder\.stages\.(\d)\.layers\.(\d+)\.', r'stages.\1.blocks.\2.'),
    (r'^layernorm\.', 'head.norm.'), *_PARTS,
)  # fmt: skip
_TORCHVISION: Rules = (
    (r'^features\.0\.', 'stem.'),
    *((rf'^features\.{2 * i}\.', f'stages.{i}.downsample.') for i in (1, 2, 3)),
    *((rf'^features\.{2 * i + 1}\.', f'stages.{i}.blocks.') for i in range(4)),
    (r'\.block\.0\.', '.conv_dw.'), (r'\.block\.2\.', '.norm.'), (r'\.block\.3\.', '.mlp.fc1.'),
    (r'\.block\.5\.', '.mlp.fc2.'), (r'\.layer_scale$', '.gamma'),
)  # fmt: skip
_RULES = {'official': _OFFICIAL, 'Hugging Face': _HUGGING_FACE, 'torchvision': _TORCHVISION}
_DEPTHS = {
    'atto': ((2, 2, 6, 2), 40), 'femto': ((2, 2, 6, 2), 48), 'pico': ((2, 2, 6, 2), 64),
    'nano': ((2, 2, 8, 2), 80), 'tiny': ((3, 3, 9, 3), 96), 'small': ((3, 3, 27, 3), 96),
    'base': ((3, 3, 27, 3), 128), 'large': ((3, 3, 27, 3), 192), 'xlarge': ((3, 3, 27, 3), 256),
    'huge': ((3, 3, 27, 3), 352),
}  # fmt: skip


def read_convnext(tensors: dict[str, Tensor], hints: Hints, names: str) -> Network | None:
    """Read a ConvNeXt of either version (no prefix); ``names`` is ``'official'`` for mmpretrain's too."""
    named = renamed(tensors, _RULES.get(names, ()))
    if 'stem.0.weight' not in named or 'stages.0.blocks.0.mlp.fc1.weight' not in named:
        return None
    named = {k: _shaped(k, v) for k, v in named.items() if k.startswith(('stem.', 'stages.'))}
    depths = blocks_in(named, 'stages.{}.blocks.')
    dims = tuple(len(named[f'stages.{i}.blocks.0.conv_dw.weight']) for i in range(len(depths)))
    second = 'stages.0.blocks.0.mlp.grn.weight' in named
    size = next((k for k, (d, w) in _DEPTHS.items() if d == depths and w == dims[0]), None)
    family = 'convnextv2' if second else 'convnext'
    backbone = dict(type='TimmBackbone', model_name=f'{family}_{_known(second, size)}')
    if size is None or backbone['model_name'] != f'{family}_{size}':
        backbone |= dict(depths=depths, dims=dims)
    convolutions = named['stages.0.blocks.0.mlp.fc1.weight'].ndim == 4
    backbone |= dict(conv_mlp=convolutions)
    backbone |= dict(ls_init_value=1.0) if 'stages.0.blocks.0.gamma' in named else dict(ls_init_value=None)
    title = f'ConvNeXt{" V2" if second else ""}-{size or f"{depths} {dims}"}'
    original = _original(tensors, backbone, depths, dims, names)
    return Network(title, backbone, feature_names(named), names, original=original)


def _known(second: bool, size: str | None) -> str:
    """A size that timm has for this version; other sizes are built from it."""
    return size if size and (size, second) not in {('xlarge', True), ('huge', False)} else 'tiny'


def _shaped(key: str, tensor: Tensor) -> Tensor:
    """Reshape parameters of global response normalisation and layer scale to vectors."""
    vector = key.endswith(('.gamma', 'grn.weight', 'grn.bias'))
    return tensor.flatten() if vector else tensor


def _original(tensors: dict, backbone: dict, depths: tuple, dims: tuple, names: str) -> Callable | None:
    if names == 'torchvision':
        return partial(_torchvision_map, tensors, depths, dims)
    facebook = names == 'official' and 'downsample_layers.0.0.weight' in tensors
    facebook &= 'stages.0.0.dwconv.weight' in tensors
    return partial(_timm_last_map, tensors, backbone) if facebook or names == 'timm' else None


@torch.no_grad()
def _torchvision_map(tensors: dict, depths: tuple, dims: tuple, images: Tensor) -> Tensor:
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    settings = [CNBlockConfig(*x) for x in zip(dims, (*dims[1:], None), depths, strict=True)]
    return filled(ConvNeXt(settings), tensors, ('classifier.',)).features(images)


def _timm_last_map(tensors: dict, backbone: dict, images: Tensor) -> Tensor:
    """The last map of timm's whole network, with the file read by timm's reader of the authors' files."""
    import timm
    from timm.models.convnext import checkpoint_filter_fn

    options = {k: v for k, v in backbone.items() if k != 'type'}
    model = timm.create_model(**options, num_classes=0)
    named = checkpoint_filter_fn(tensors, model)
    named = {k: v for k, v in named.items() if k.startswith(('stem.', 'stages.'))}
    return timm_map(filled(model, named, ('head.',)))(images)
