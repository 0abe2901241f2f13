"""EfficientNets, under timm's names and those of ``efficientnet_pytorch`` and its Lite kin."""

import re

from torch import Tensor

from .network import Network
from .timm_names import shapes_of, timm_images, variant_of

# Parts of a block of efficientnet_pytorch -> timm's, where the block expands its channels and where not.
_EXPANDING = {
    '_expand_conv': 'conv_pw', '_bn0': 'bn1', '_depthwise_conv': 'conv_dw', '_bn1': 'bn2',
    '_project_conv': 'conv_pwl', '_bn2': 'bn3',
}  # fmt: skip
_PLAIN = {'_depthwise_conv': 'conv_dw', '_bn1': 'bn1', '_project_conv': 'conv_pw', '_bn2': 'bn2'}
_SQUEEZE = {'_se_reduce': 'se.conv_reduce', '_se_expand': 'se.conv_expand'}
_TOPS = {
    '_conv_stem': 'conv_stem', '_bn0': 'bn1', '_conv_head': 'conv_head', '_bn1': 'bn2', '_fc': 'classifier',
}  # fmt: skip
# By timm's names; Lite models have no squeeze-and-excitation.
_VARIANTS = [f'efficientnet_{kind}{n}' for kind, count in (('lite', 5), ('b', 9)) for n in range(count)]
_KEY = re.compile(r'^(?:_blocks\.(\d+)\.)?(_\w+)\.(?:conv\.)?(\w+)$')


def from_efficientnet_pytorch(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give tensors of ``efficientnet_pytorch`` (no prefix) timm's names; its blocks are numbered through."""
    places = _places(tensors)
    return {_renamed(key, places, tensors): value for key, value in tensors.items()}


def _places(tensors: dict[str, Tensor]) -> dict[int, tuple[int, int]]:
    """Number of a block -> stage and place in it. A new width of the output begins a stage."""
    count = 1 + max(int(match[1]) for key in tensors if (match := _KEY.match(key)) and match[1])
    places, stage, place, last = {}, -1, 0, None
    for number in range(count):
        width = len(tensors[f'_blocks.{number}._project_conv.weight'])
        stage, place = (stage, place + 1) if width == last else (stage + 1, 0)
        places[number], last = (stage, place), width
    return places


def _renamed(key: str, places: dict[int, tuple[int, int]], tensors: dict[str, Tensor]) -> str:
    match = _KEY.match(key)
    if match is None:
        return key
    number, part, leaf = match.groups()
    if number is None:
        return f'{_TOPS.get(part, part)}.{leaf}'
    expands = f'_blocks.{number}._expand_conv.weight' in tensors
    names = (_EXPANDING if expands else _PLAIN) | _SQUEEZE
    stage, place = places[int(number)]
    return f'blocks.{stage}.{place}.{names.get(part, part)}.{leaf}'


def read_efficientnet(tensors: dict[str, Tensor]) -> Network | None:
    """An EfficientNet under timm's or ``efficientnet_pytorch``'s names (no prefix); None where it is none."""
    theirs = '_conv_stem.weight' in tensors
    named = from_efficientnet_pytorch(tensors) if theirs else tensors
    # efficientnet_pytorch has TensorFlow's weights, which pad unevenly, as timm's tf_ models do.
    variant = variant_of(named, [f'tf_{name}' if theirs else name for name in _VARIANTS])
    if variant is None:
        return None
    return Network(
        title=f'EfficientNet-{variant.rpartition("efficientnet_")[2].capitalize()}',
        backbone={'type': 'TimmBackbone', 'model_name': variant},
        tensors={key: named[key] for key in shapes_of(variant) if key in named},
        names='efficientnet_pytorch' if theirs else 'timm',
        **timm_images(variant),
    )
