"""The layers of any backbone, shallow to deep, found by the names of its parameters."""

import re

from torch import nn

# layer1 (ResNet), blocks.0 (EfficientNet, ViT), stages.0 or stages_0 (ConvNeXt), layers.0 (Swin, mmseg's ViT)
_NUMBERED = re.compile(r'(?:^|\.)(layer\d+|(?:blocks|stages|layers?|features)[._]\d+)(?:\.|$)')


def layers_of(backbone: nn.Module) -> dict[str, int]:
    """Parameter name -> number of its layer: 0 for the stem, then one for each stage (of a ViT: block).

    The order is that of ``named_parameters``. Parameters before the first numbered part belong to the stem.
    A later parameter without a number, such as that of a last norm, belongs to the deepest layer before it.
    """
    found: dict[str, int] = {}
    numbers: dict[str, int] = {}
    for name, _ in backbone.named_parameters():
        match = _NUMBERED.search(name)
        if match:
            numbers.setdefault(match[1], len(numbers) + 1)
        found[name] = numbers[match[1]] if match else len(numbers)
    return found


def freeze_layers(backbone: nn.Module, count: int) -> None:
    """Freeze the ``count`` shallowest layers; the stem is one of them.

    Raises:
        ValueError: the backbone has fewer layers, or ``count`` is negative.
    """
    layers = layers_of(backbone)
    deepest = max(layers.values(), default=0)
    if not 0 <= count <= deepest + 1:
        raise ValueError(
            f'model.frozen_layers={count}, but {type(backbone).__name__} has {deepest + 1} layers, the stem '
            'among them'
        )
    for name, parameter in backbone.named_parameters():
        if layers[name] < count:
            parameter.requires_grad_(False)
