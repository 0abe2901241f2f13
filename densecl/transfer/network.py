"""The result of recognising a file of weights: a backbone that can be built, and its tensors."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


@dataclass
class Hints:
    """Information about a file beside its tensors.

    Attributes:
        file: its name without suffix.
        record: its record of the training, see :func:`densecl.transfer.record.training_record`.
        config: a model folder's ``config.json``.
        heads: number of channels -> number of attention heads of a transformer, or None if the project has no
            fixed rule.
        names: names of all tensors of the file.
    """

    file: str = ''
    record: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    heads: Callable[[int], int | None] = lambda width: None
    names: Collection[str] = ()

    @property
    def architecture(self) -> str:
        """timm's name of the network, from the model folder or from the file's name; else ''."""
        said = str(self.config.get('architecture') or self.file)
        return said.split('.')[0]


@dataclass
class Network:
    """A recognised backbone.

    Attributes:
        title: its name for users, ``'ResNet-50'``.
        backbone: config that :data:`densecl.registry.MODELS` builds, without ``out_indices``.
        tensors: name in that backbone, without prefix -> tensor.
        names: project of the names in the file: ``'torchvision'``, ``'timm'``, ...
        mean, std: normalisation of the images in its training, in the order of ``channel_order``, 0 to 255.
        channel_order: channel order of the file's original network.
        notes: what was guessed, and how to change it.
        record: the file's record of its training.
        original: function from normalised images (B, 3, H, W) to the last map (B, C, h, w) of the original
            project's network with the file's tensors; None if that network cannot be built.
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
    """Fill ``model`` with ``tensors`` and set eval mode; names that start with ``absent`` may be missing.

    Raises:
        ValueError: other tensors are missing, or there are unknown ones.
    """
    kept = {k: v for k, v in tensors.items() if not k.startswith(absent)} if absent else tensors
    # assign=True also fills a model without memory (device 'meta').
    result = model.load_state_dict(kept, strict=False, assign=True)
    wrong = [k for k in (*result.missing_keys, *result.unexpected_keys) if not k.startswith(absent)]
    wrong = [k for k in wrong if not k.endswith('num_batches_tracked')]
    if wrong:
        raise ValueError(f'{type(model).__name__} and the file differ in {len(wrong)} names: {wrong[:3]}')
    return model.eval()


def blocks_in(tensors: dict[str, Tensor], pattern: str) -> tuple[int, ...]:
    """Number of blocks of each stage; ``{}`` in ``pattern`` is the stage: ``'stages.{}.blocks.'``."""
    counts = []
    while True:
        start = pattern.format(len(counts))
        blocks = {k.removeprefix(start).split('.')[0] for k in tensors if k.startswith(start)}
        if not blocks:
            return tuple(counts)
        counts.append(len(blocks))


def timm_map(model: nn.Module, norm: bool = False) -> Callable[[Tensor], Tensor]:
    """A function that computes the last map of a whole timm model."""

    @torch.no_grad()
    def last_map(images: Tensor) -> Tensor:
        return model.forward_intermediates(images, indices=1, norm=norm, intermediates_only=True)[-1]

    return last_map
