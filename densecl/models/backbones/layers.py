"""The layers of any backbone, shallow to deep, by the names of its parameters."""

import re

from torch import nn

# layer1 (ResNet), blocks.0 (EfficientNet, ViT), stages.0 or stages_0 (ConvNeXt), layers.0 (Swin, mmseg's ViT)
_NUMBERED = re.compile(r'(?:^|\.)(layer\d+|(?:blocks|stages|layers?|features)[._]\d+)(?:\.|$)')


def layers_of(backbone: nn.Module) -> dict[str, int]:
    """Parameter name -> number of its layer: 0 is the stem, then stage by stage (of a ViT block by block).

    What stands in front of the first numbered part, in the order of ``named_parameters``, belongs to the
    stem; what stands behind, a last norm for example, to the deepest layer.
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
    """Let the ``count`` shallowest layers (the stem is one) need no gradient.

    Raises:
        ValueError: the backbone has not so many.
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
