"""What a file of weights turned out to be: a backbone that can be built, and its tensors."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


@dataclass
class Hints:
    """What is known of a file beside its tensors.

    Attributes:
        file: its name without suffix.
        record: what it says of its making, see :func:`densecl.transfer.record.training_record`.
        config: a model folder's ``config.json``.
        heads: attention heads of a transformer of so many channels, where its project is known for a number.
        names: of all tensors of the file.
    """

    file: str = ''
    record: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    heads: Callable[[int], int | None] = lambda width: None
    names: Collection[str] = ()

    @property
    def architecture(self) -> str:
        """timm's name of the network: a model folder's, or the file's own where it is one; else ''."""
        said = str(self.config.get('architecture') or self.file)
        return said.split('.')[0]


@dataclass
class Network:
    """A recognised backbone.

    Attributes:
        title: what it is, ``'ResNet-50'``.
        backbone: config that :data:`densecl.registry.MODELS` builds, without ``out_indices``.
        tensors: by the names of that backbone, without prefix.
        names: whose names the file has: ``'torchvision'``, ``'timm'``, ...
        mean, std: of the images it was trained on, in the order of ``channel_order``, 0 to 255.
        channel_order: of the images that the file's own network takes.
        notes: what was guessed, and how to say otherwise.
        record: what the file says of its making.
        original: from normalised images (B, 3, H, W) to the last map (B, C, h, w) of the network of the
            project whose names the file has, filled with the file's own tensors; None where that project
            cannot be asked.
    """

    title: str
    backbone: dict
    tensors: dict[str, Tensor]
    names: str
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    channel_order: str = 'RGB'
    notes: list[str] = field(default_factory=list)
    record: dict[str, Any] = field(default_factory=dict)
    original: Callable[[Tensor], Tensor] | None = None


def filled(model: nn.Module, tensors: dict[str, Tensor], absent: tuple[str, ...] = ()) -> nn.Module:
    """``model`` in eval mode, with ``tensors``; names beginning with ``absent`` count for nothing.

    Raises:
        ValueError: others are missing, or too many.
    """
    kept = {k: v for k, v in tensors.items() if not k.startswith(absent)} if absent else tensors
    # Assigned, so that a model without memory (device 'meta') is filled as well.
    result = model.load_state_dict(kept, strict=False, assign=True)
    wrong = [k for k in (*result.missing_keys, *result.unexpected_keys) if not k.startswith(absent)]
    wrong = [k for k in wrong if not k.endswith('num_batches_tracked')]
    if wrong:
        raise ValueError(f'{type(model).__name__} and the file differ in {len(wrong)} names: {wrong[:3]}')
    return model.eval()


def blocks_in(tensors: dict[str, Tensor], pattern: str) -> tuple[int, ...]:
    """How many blocks each stage has; ``pattern`` has a place for the stage: ``'stages.{}.blocks.'``."""
    counts = []
    while True:
        start = pattern.format(len(counts))
        blocks = {k.removeprefix(start).split('.')[0] for k in tensors if k.startswith(start)}
        if not blocks:
            return tuple(counts)
        counts.append(len(blocks))


def timm_map(model: nn.Module, norm: bool = False) -> Callable[[Tensor], Tensor]:
    """The last map that a whole timm model computes."""

    @torch.no_grad()
    def last_map(images: Tensor) -> Tensor:
        return model.forward_intermediates(images, indices=1, norm=norm, intermediates_only=True)[-1]

    return last_map
