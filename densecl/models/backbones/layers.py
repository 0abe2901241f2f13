"""The layers of any backbone, shallow to deep, found by the names of its parameters."""

import re

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

# layer1 (ResNet), blocks.0 (EfficientNet, ViT), stages.0 or stages_0 (ConvNeXt), layers.0 (Swin),
# stage2 (HRNet), s1 or trunk_output.block1 (RegNet), level1 (DLA), features.denseblock1 (DenseNet)
_NUMBERED = re.compile(
    r'(?:^|\.)((?:layer|stage|s|level|(?:features_)?(?:denseblock|transition)|trunk_output\.block)\d+'
    r'|(?:blocks|stages|layers?|features)[._]\d+)(?:\.|$)'
)


def layers_of(backbone: nn.Module) -> dict[str, int]:
    """Parameter name -> number of its layer: 0 for the stem, then one for each stage (of a ViT: block).

    The order is that of ``named_parameters``. Parameters before the first numbered part belong to the stem.
    A later parameter without a number, such as that of a last norm, belongs to the deepest layer before it.
    Where the first parameter has a number already (torchvision's ConvNeXt), its part is the stem.
    """
    found: dict[str, int] = {}
    numbers: dict[str, int] = {}
    has_stem = not _NUMBERED.search(next(iter(backbone.named_parameters()), ('',))[0])
    for name, _ in backbone.named_parameters():
        match = _NUMBERED.search(name)
        if match:
            numbers.setdefault(match[1], len(numbers) + has_stem)
        found[name] = numbers[match[1]] if match else max(numbers.values(), default=0)
    return found


def freeze_layers(backbone: nn.Module, count: int) -> list[str]:
    """Freeze the ``count`` shallowest layers; the stem is one of them.

    Returns:
        The names of their batch norms, whose statistics are to be held, too.

    Raises:
        ValueError: the backbone has fewer layers, ``count`` is negative, or the names of the parameters tell
            no layers.
    """
    layers = layers_of(backbone)
    deepest = max(layers.values(), default=0)
    if not 0 <= count <= deepest + 1:
        raise ValueError(
            f'model.frozen_layers={count}, but {type(backbone).__name__} has {deepest + 1} layers, the stem '
            'among them'
        )
    if count and not deepest:
        raise ValueError(
            f'model.frozen_layers={count}, but the names of the parameters of {type(backbone).__name__} tell '
            'no layers; set frozen_layers=0, and lr_mult=0 for chosen names in paramwise_cfg.rules'
        )
    for name, parameter in backbone.named_parameters():
        if layers[name] < count:
            parameter.requires_grad_(False)
    norms = (name for name, part in backbone.named_modules() if count and isinstance(part, _BatchNorm))
    return [name for name in norms if layers.get(f'{name}.weight', deepest + 1) < count]


def patch_side(backbone: nn.Module, level: int) -> int:
    """The side in pixels of the patches that are the cells of a level; 1 if the filters overlap.

    Cells of overlapping filters lie around their centres, wherever the image ends. Patches begin at its upper
    left corner; the last ones may lack pixels, or be left out. Where a backbone does not say the stride of
    its levels, this is the side of the first patches, of which those of a level are multiples.
    """
    first = next((layer for layer in backbone.modules() if isinstance(layer, nn.Conv2d)), None)
    if first is None or first.stride != first.kernel_size or first.stride == (1, 1):
        return 1
    info = getattr(backbone, 'feature_info', None)
    return info.reduction()[level] if hasattr(info, 'reduction') else first.stride[0]
