"""Reads EfficientNets and MobileNetV3s of many projects and gives them timm's names."""

import re
from functools import partial

import torch
import torchvision
from torch import Tensor

from .network import Hints, Network, filled, timm_map
from .rename import renamed_in_order
from .timm_names import shapes_of, timm_images, variant_of, whole_shapes_of

# Parts of a block of efficientnet_pytorch -> timm's, for blocks with and without expansion of channels.
_EXPANDING = {
    '_expand_conv': 'conv_pw', '_bn0': 'bn1', '_depthwise_conv': 'conv_dw', '_bn1': 'bn2',
    '_project_conv': 'conv_pwl', '_bn2': 'bn3',
}  # fmt: skip
_PLAIN = {'_depthwise_conv': 'conv_dw', '_bn1': 'bn1', '_project_conv': 'conv_pw', '_bn2': 'bn2'}
_SQUEEZE = {'_se_reduce': 'se.conv_reduce', '_se_expand': 'se.conv_expand'}
_TOPS = {
    '_conv_stem': 'conv_stem', '_bn0': 'bn1', '_conv_head': 'conv_head', '_bn1': 'bn2', '_fc': 'classifier',
}  # fmt: skip
# timm's names; Lite models have no squeeze-and-excitation.
_EFFICIENTNETS = [f'efficientnet_{kind}{n}' for kind, count in (('lite', 5), ('b', 8)) for n in range(count)]
_MOBILENETS = [f'mobilenetv3_{size}_{width}' for size in ('large', 'small') for width in ('100', '075')]
_KEY = re.compile(r'^(?:_blocks\.(\d+)\.)?(_\w+)\.(?:conv\.)?(\w+)$')


def from_efficientnet_pytorch(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give tensors of ``efficientnet_pytorch`` (no prefix) timm's names; blocks have consecutive numbers."""
    places = _places(tensors)
    return {_renamed(key, places, tensors): value for key, value in tensors.items()}


def _places(tensors: dict[str, Tensor]) -> dict[int, tuple[int, int]]:
    """Number of a block -> its stage and its number in the stage. A stage starts at a new output width."""
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


def read_efficientnet(tensors: dict[str, Tensor], hints: Hints, names: str) -> Network | None:
    """Read an EfficientNet or MobileNetV3 with the names of timm, torchvision or ``efficientnet_pytorch``."""
    if names == 'torchvision':
        return _read_torchvision(tensors)
    theirs = names == 'efficientnet_pytorch'
    named = from_efficientnet_pytorch(tensors) if theirs else tensors
    # efficientnet_pytorch has TensorFlow's weights; they need asymmetric padding, as in timm's tf_ models.
    uneven = theirs or hints.architecture.startswith('tf_')
    variant = variant_of(
        named, [f'tf_{name}' if uneven else name for name in _variants(named['conv_stem.weight'])]
    )
    if variant is None:
        return None
    title, notes = _title(variant), []
    if not uneven and not hints.architecture.startswith(variant):
        notes = [
            f"padding taken as that of timm's {variant}; tf_{variant} has tensors of the same "
            'shapes; call the file tf_... if it is that'
        ]
    tensors = {key: named[key] for key in shapes_of(variant) if key in named}
    backbone = dict(type='TimmBackbone', model_name=variant)
    original = partial(_timm_last_map, variant, named)
    return Network(title, backbone, tensors, names, **timm_images(variant), notes=notes, original=original)


def _variants(stem: Tensor) -> list[str]:
    """Candidates by the stem's width: a MobileNetV3 has 16 channels, an EfficientNet 32 or more."""
    return _MOBILENETS if len(stem) == 16 else _EFFICIENTNETS


def _title(variant: str) -> str:
    if 'mobilenet' in variant:
        return f'MobileNetV3-{variant.split("_")[1].capitalize()}'
    return f'EfficientNet-{variant.rpartition("efficientnet_")[2].capitalize()}'


def _read_torchvision(tensors: dict[str, Tensor]) -> Network | None:
    """Read torchvision's names: the same modules in the same order, numbered consecutively."""
    features = {k: v for k, v in tensors.items() if k.startswith('features.')}
    for variant in (name for name in _variants(tensors['features.0.0.weight']) if 'lite' not in name):
        named = renamed_in_order(features, whole_shapes_of(variant))
        if variant_of(named, [variant]) is None:
            continue
        # Epsilon of torchvision's batch norms: 1e-3 in MobileNetV3 and from B5 on.
        wide = 'mobilenet' in variant or variant[-2:] in ('b5', 'b6', 'b7')
        options = dict(bn_eps=1e-3) if wide else {}
        backbone = dict(type='TimmBackbone', model_name=variant, **options)
        own = {key: named[key] for key in shapes_of(variant) if key in named}
        original = partial(_torchvision_map, variant, tensors)
        return Network(_title(variant), backbone, own, 'torchvision', original=original)
    return None


@torch.no_grad()
def _torchvision_map(variant: str, tensors: dict[str, Tensor], images: Tensor) -> Tensor:
    name = re.sub(r'^mobilenetv3_(\w+?)_\d+$', r'mobilenet_v3_\1', variant)
    model = filled(torchvision.models.get_model(name), tensors, ('classifier.',))
    layers = model.features if 'mobilenet' in name else model.features[:-1]
    return layers(images)


def _timm_last_map(variant: str, tensors: dict[str, Tensor], images: Tensor) -> Tensor:
    import timm

    model = timm.create_model(variant)
    kept = {k: v for k, v in tensors.items() if not k.startswith(('conv_head.', 'classifier.'))}
    return timm_map(filled(model, kept, ('conv_head.', 'bn2.', 'classifier.')))(images)
