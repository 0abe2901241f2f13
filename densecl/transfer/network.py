"""What a file of weights turned out to be: a backbone that can be built, and its tensors."""

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor, nn

IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


@dataclass
class Network:
    """A recognised backbone.

    Attributes:
        title: what it is, ``'ResNet-50'``.
        backbone: config that :data:`densecl.registry.MODELS` builds, without ``out_indices``.
        tensors: by the names of that backbone, without prefix.
        names: whose names the file has: ``'torchvision'``, ``'timm'``, ...
        mean, std: of the images it was trained on, RGB, 0 to 255.
        notes: what was guessed, and how to say otherwise.
        original: builds the network of the project whose names the file has, filled with the file's own
            tensors; None where that project cannot be asked here.
    """

    title: str
    backbone: dict
    tensors: dict[str, Tensor]
    names: str
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    notes: list[str] = field(default_factory=list)
    original: Callable[[], nn.Module] | None = None
