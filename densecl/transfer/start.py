"""The weights that a pretraining starts from: found, recognised, built, saved for the training command."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from densecl.registry import MODELS

from .export import save_export
from .prefixes import copy, counted, fitting
from .read import Weights
from .recognise import recognise
from .record import training_record
from .start_files import locate
from .stem import fit_stem
from .vit import fit_positions


@dataclass
class Start:
    """Weights to start from, and the backbone that they fit.

    Attributes:
        name: short, for file names and tables: ``'imagenet'``, ``'moco_v2_800ep_pretrain'``.
        backbone: config that :data:`densecl.registry.MODELS` builds, without ``out_indices``.
        tensors: by the names of that backbone, without prefix.
        mean, std: of the images the network was trained on, RGB, 0 to 255.
        licence: SPDX-like, ``'Apache-2.0'``; None where it is not known.
        origin: what was recognised: ``'MoCo v2, query encoder, ResNet-50'``.
        sha256: of the file.
        notes: what was guessed, and how to say otherwise.
    """

    name: str
    backbone: dict[str, Any]
    tensors: dict[str, Tensor]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    licence: str | None = None
    origin: str = ''
    sha256: str | None = None
    notes: list[str] = field(default_factory=list)

    def build(self, out_indices: tuple[int, ...] | None = None, **options) -> nn.Module:
        """The backbone, filled with the weights.

        Args:
            out_indices: levels to return; the backbone's default otherwise.
            **options: further settings of the backbone: ``output_stride`` (timm), ``dilations`` (mmdet), ...;
                ``in_channels`` (timm: ``in_chans``) inflates the stem.

        Raises:
            ValueError: a tensor of the backbone that the weights do not fill.
        """
        levels = {} if out_indices is None else {'out_indices': tuple(out_indices)}
        model = MODELS.build({**self.backbone, **levels, **options})
        wanted = model.state_dict()
        given, _ = fit_positions(self.tensors, wanted)
        given, *_ = fit_stem(given, wanted)
        names = fitting(wanted, given)
        unfilled = sorted(counted(wanted).keys() - set(names))
        if unfilled:
            raise ValueError(
                f'{self.name}: {len(unfilled)} tensors of {self.backbone["type"]} are not in the weights '
                f'({", ".join(unfilled[:3])}, ...): leave out the options that change shapes: {options}'
            )
        copy(wanted, given, names)
        return model

    def record(self) -> dict[str, Any]:
        """For the field ``start`` of a config: every export of its run says it."""
        return {key: getattr(self, key) for key in ('name', 'origin', 'licence', 'sha256')}

    def export(self) -> dict[str, Any]:
        """What :func:`load_backbone` reads, ``state_dict`` and ``meta``."""
        text = f'model = {dict(backbone=self.backbone)!r}\n'
        meta = training_record(Weights(self.tensors, {'cfg': text}, self.name), self.tensors, 'online')
        images = {'channel_order': 'RGB', 'mean': list(self.mean), 'std': list(self.std)}
        form = torch.contiguous_format
        own = {k: v.detach().cpu().clone(memory_format=form) for k, v in self.tensors.items()}
        return {'state_dict': own, 'meta': {**meta, **images, **self.record()}}

    def save(self, path: str | Path) -> Path:
        """Write a file that ``--pretrained``, :func:`load_backbone` and the export read; return ``path``."""
        return save_export(self.export(), path)


def find_start(what: str | Path) -> Start:
    """Find and recognise weights, by their names and shapes alone.

    Args:
        what: ``'imagenet'`` (a pip package, see docs/starting-weights.md), or the path of a file of any
            common project.

    Raises:
        FileNotFoundError: no such file, or the package is not installed.
        ValueError: the file is no whole checkpoint, or its network is not known.
    """
    located = locate(what)
    network = recognise(located.weights)
    return Start(
        name=located.name,
        backbone=network.backbone,
        tensors=network.tensors,
        mean=network.mean,
        std=network.std,
        licence=located.licence,
        origin=f'{located.origin}, {network.title}' if located.origin else network.title,
        sha256=located.sha256,
        notes=network.notes,
    )
