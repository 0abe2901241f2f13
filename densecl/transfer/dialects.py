"""The names that projects give the tensors of a ResNet (for vision transformers see vit.py).

mmdet, mmseg, torchvision and timm use the same names for a plain-stem ResNet (``conv1.weight``,
``layer1.0.bn1.bias``). detectron2 has other names (``stem.conv1.weight``, ``res2.0.conv1.norm.bias``).
"""

import re

from torch import Tensor

from .prefixes import counted
from .regions import regions_from_detectron2
from .vit import vit_dialect, vit_part

TARGETS = ('mmdet', 'mmseg', 'torchvision', 'timm', 'detectron2', 'safetensors', 'huggingface')
# Of densecl's backbones, these projects can load only a plain-stem ResNet with the stride in the 3x3
# convolution.
PLAIN_RESNET_ONLY = ('torchvision', 'timm')

# mmdet's part of a block -> detectron2's; the first two are also the stem's.
_PARTS = {
    'conv1': 'conv1', 'bn1': 'conv1.norm', 'conv2': 'conv2', 'bn2': 'conv2.norm', 'conv3': 'conv3',
    'bn3': 'conv3.norm', 'downsample.0': 'shortcut', 'downsample.1': 'shortcut.norm',
}  # fmt: skip
_MMDET_PARTS = {theirs: ours for ours, theirs in _PARTS.items()}
_MMDET = re.compile(r'^(?:layer([1-4])\.(\d+)\.)?(.+)\.([^.]+)$')
_D2 = re.compile(r'^(.*?)(?:res([2-5])\.(\d+)|stem)\.((?:conv[123]|shortcut)(?:\.norm)?)\.([^.]+)$')
_RESNET_TOP = re.compile(r'^((conv|bn|gn|in|norm)1|stem|layer\d+)\.')
_BLOCKS = {
    ('basic', (2, 2, 2, 2)): 18,
    ('basic', (3, 4, 6, 3)): 34,
    ('bottleneck', (3, 4, 6, 3)): 50,
    ('bottleneck', (3, 4, 23, 3)): 101,
    ('bottleneck', (3, 8, 36, 3)): 152,
}


def backbone_part(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Remove tensors with the same prefix that are no part of a backbone: ``fc``, ``head``, ``neck``, the
    mask token ..."""
    if vit_dialect(tensors):
        return vit_part(tensors)
    if not is_resnet(tensors):
        return {key: value for key, value in tensors.items() if key != 'mask_token'}
    return {key: value for key, value in tensors.items() if _RESNET_TOP.match(key)}


def is_resnet(tensors: dict[str, Tensor]) -> bool:
    """Whether the names (without prefix) are those of an mmdet-style ResNet, with either stem."""
    return 'layer1.0.conv1.weight' in tensors and stem_of(tensors) is not None


def stem_of(tensors: dict[str, Tensor]) -> str | None:
    """``plain`` (one 7x7 convolution), ``deep`` (three 3x3; ResNetV1c and V1d) or None."""
    if 'stem.0.weight' in tensors:
        return 'deep'
    return 'plain' if 'conv1.weight' in tensors else None


def depth_of(tensors: dict[str, Tensor]) -> int | None:
    """18, 34, 50, 101 or 152, from the numbers of blocks; None for other networks."""
    block = 'bottleneck' if 'layer1.0.conv3.weight' in tensors else 'basic'
    stages = [{k.split('.')[1] for k in tensors if k.startswith(f'layer{i}.')} for i in range(1, 5)]
    return _BLOCKS.get((block, tuple(map(len, stages))))


def from_detectron2(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give tensors of detectron2 (ResNet, pyramid, box head) mmdet's names; other files are not changed."""
    blocks = (match for key in tensors if (match := _D2.match(key)) and match[2])
    first = next(blocks, None)
    if first is None:
        return tensors
    return {_from_detectron2(k): v for k, v in regions_from_detectron2(tensors, first[1]).items()}


def _from_detectron2(key: str) -> str:
    if not (match := _D2.match(key)):
        return key
    prefix, level, block, part, leaf = match.groups()
    place = f'layer{int(level) - 1}.{block}.' if level else ''
    return f'{prefix}{place}{_MMDET_PARTS[part]}.{leaf}'


def to_detectron2(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give mmdet's ResNet tensors (no prefix) detectron2's names; batch counters are dropped.

    Raises:
        ValueError: a name that is no part of a plain-stem ResNet.
    """
    return {_to_detectron2(key): value for key, value in counted(tensors).items()}


def _to_detectron2(key: str) -> str:
    level, block, part, leaf = match.groups() if (match := _MMDET.match(key)) else (None, None, None, None)
    if part not in (_PARTS if level else ('conv1', 'bn1')):
        raise ValueError(f"detectron2's ResNet has no counterpart for {key}")
    place = f'res{int(level) + 1}.{block}' if level else 'stem'
    return f'{place}.{_PARTS[part]}.{leaf}'
