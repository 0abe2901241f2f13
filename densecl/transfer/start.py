"""Finds and recognises the weights that a pretraining starts from, builds their backbone and saves both."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from densecl.registry import MODELS

from .check import backbone_features, normalised, sample_picture
from .export import save_export
from .network import Hints, Network
from .prefixes import copy, counted, fitting
from .projects import Project, caution, project_of
from .read import Weights
from .recognise import recognise
from .record import FORMAT, training_record
from .start_files import Located, locate
from .stem import fit_stem
from .vit import fit_positions


@dataclass
class Start:
    """Weights to start from, and the backbone that they fit.

    Attributes:
        name: short, for file names and tables: ``'imagenet'``, ``'moco_v2_800ep_pretrain'``.
        backbone: config that :data:`densecl.registry.MODELS` builds, without ``out_indices``.
        tensors: name in that backbone, without prefix -> tensor.
        mean, std: normalisation of the images in its training, RGB, 0 to 255.
        licence: SPDX-like, ``'Apache-2.0'``; None if it is not known.
        origin: what was recognised: ``'MoCo v2, query encoder, ResNet-50'``.
        sha256: hash of the file.
        notes: what was guessed, and how to change it.
        network: the network as recognised in the file; None if the Start does not come from a file.
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
    network: Network | None = field(default=None, repr=False)

    def build(self, out_indices: tuple[int, ...] | None = None, **options) -> nn.Module:
        """The backbone, filled with the weights.

        Args:
            out_indices: levels to return; None: the backbone's default.
            **options: further settings of the backbone: ``output_stride`` (timm), ``dilations`` (mmdet), ...;
                ``in_channels`` (timm: ``in_chans``) inflates the stem.

        Raises:
            ValueError: the weights lack a tensor of the backbone.
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
        """Value of the field ``start`` of a config; every export of the run contains it."""
        return {key: getattr(self, key) for key in ('name', 'origin', 'licence', 'sha256')}

    def export(self) -> dict[str, Any]:
        """A dict that :func:`load_backbone` reads, with ``state_dict`` and ``meta``."""
        text = f'model = {dict(backbone=self.backbone)!r}\n'
        meta = training_record(Weights(self.tensors, {'cfg': text}, self.name), self.tensors, 'online')
        images = {'channel_order': 'RGB', 'mean': list(self.mean), 'std': list(self.std)}
        form = torch.contiguous_format
        own = {k: v.detach().cpu().clone(memory_format=form) for k, v in self.tensors.items()}
        return {'state_dict': own, 'meta': {**meta, **images, **self.record(), 'method': None}}

    def save(self, path: str | Path) -> Path:
        """Write a file that ``--pretrained``, :func:`load_backbone` and the export read; return ``path``."""
        return save_export(self.export(), path)

    def check(self, image: Tensor | None = None) -> float | None:
        """Compare features with the network of the project that wrote the file, each with its normalisation.

        Args:
            image: uint8 (H, W, 3), RGB; by default :func:`densecl.transfer.check.sample_picture`. It is
                resized for networks with a fixed input size.

        Returns:
            The largest difference of the last maps, as a share of the largest value; None if that project's
            network cannot be built here.
        """
        network = self.network
        if network is None or network.original is None:
            return None
        image = sample_picture() if image is None else image
        side = self.backbone.get('img_size')
        if side:
            image = F.interpolate(image.permute(2, 0, 1)[None].float(), (side, side), mode='area')
            image = image[0].permute(1, 2, 0).round().to(torch.uint8)
        theirs = dict(channel_order=network.channel_order, mean=list(network.mean), std=list(network.std))
        expected = network.original(normalised(image, theirs))
        ours = normalised(image, dict(mean=list(self.mean), std=list(self.std)))
        found = backbone_features(self.build(), ours)[-1]
        return ((found - expected).abs().max() / expected.abs().max()).item()

    def lines(self, image: Tensor | None = None) -> list[str]:
        """Lines for a user: origin, licence with its caution, the feature check, what was guessed."""
        rows = [f'start {self.name}: {self.origin}', f'licence: {self.licence or "not known"}']
        rows += [f'  ! {text}' for text in [caution(self.licence)] if text]
        rows.append(_said(self.check(image), self.network))
        return rows + [f'  ! {note}' for note in self.notes]


# Project of a file's names -> project whose network is built for the comparison, if it is another one.
_LIBRARIES = {'official': 'timm', 'CLIP': 'timm', 'efficientnet_pytorch': 'timm', 'detectron2': 'torchvision'}


def _said(difference: float | None, network: Network | None) -> str:
    names = network.names if network else 'densecl'
    if names == 'densecl':
        return 'features: its own backbone, nothing was renamed'
    if difference is None:
        return f'features: not compared, the network of {names} cannot be built here'
    library = _LIBRARIES.get(names, names)
    text = f'largest difference {difference:.1e} of the largest value'
    if difference > 1e-3:
        return f"features: NOT those of {library}'s network ({text}): do not use these weights"
    return f"features: those of {library}'s network ({text})"


def find_start(what: str | Path) -> Start:
    """Find and recognise weights, only by the names and shapes of their tensors.

    Args:
        what: the path of a file of any common project; a model folder (``config.json`` and
            ``model.safetensors``); ``'imagenet'``, which is a pip package; ``'timm:NAME'`` or
            ``'torchvision:NAME'``, which are downloaded. See docs/starting-weights.md.

    Raises:
        FileNotFoundError: no such file, the package is not installed, or nothing could be downloaded.
        ValueError: the file is no whole checkpoint, or its network is not known.
        pickle.UnpicklingError: the file needs classes that could run code.
    """
    located = locate(what)
    weights = _in_float32(located.weights)
    project = project_of(weights, located.name)
    hints = Hints(located.name, config=located.config, heads=_heads(project))
    network, branch, prefix = recognise(weights, project, hints)
    _verify(network, located.weights.source)
    mean, std, order = _images(network, located)
    network = replace(network, mean=mean, std=std, channel_order=order)
    turn = -1 if order == 'BGR' else 1
    return Start(
        name=located.name,
        backbone=network.backbone,
        tensors=_as_rgb(network),
        mean=tuple(mean[::turn]),
        std=tuple(std[::turn]),
        **_provenance(located, project, network, branch, project.part(branch) if prefix else ''),
        sha256=located.sha256,
        notes=network.notes,
        network=network,
    )


def _in_float32(weights: Weights) -> Weights:
    """Convert to float32: many releases are in half precision, which a network on a CPU cannot run in."""
    tensors = {k: v.float() if v.is_floating_point() else v for k, v in weights.tensors.items()}
    return replace(weights, tensors=tensors)


def _heads(project: Project) -> Callable[[int], int | None]:
    """Number of attention heads: MoCo v3 has 12 in every ViT; most projects have one per 64 channels."""
    if project.name == 'MoCo v3':
        return lambda width: 12 if width % 12 == 0 else None
    return lambda width: max(1, width // project.heads) if project.heads else None


def _verify(network: Network, source: str) -> None:
    """Build the backbone without memory (device 'meta') and compare names and shapes, in both directions.

    Raises:
        ValueError: the file lacks a part of the backbone, or has a part that the backbone lacks.
    """
    with torch.device('meta'):
        wanted = counted(MODELS.build(network.backbone).state_dict())
    given = counted(network.tensors)
    wrong = [k for k in {**wanted, **given} if k not in given or k not in wanted]
    wrong += [k for k in wanted if k in given and wanted[k].shape != given[k].shape]
    if wrong:
        raise ValueError(
            f"{source} looks like a {network.title}, but {len(wrong)} tensors are another network's "
            f'({", ".join(wrong[:3])}): this variant is not known; build its backbone in a config and use '
            '--pretrained'
        )


def _images(network: Network, located: Located) -> tuple[tuple, tuple, str]:
    """Mean, std and channel order: first from the file's record of its training, then from its folder."""
    said = network.record
    if said.get('mean'):
        return tuple(said['mean']), tuple(said['std']), said['channel_order'] or 'RGB'
    if located.images:
        return located.images['mean'], located.images['std'], 'RGB'
    return network.mean, network.std, network.channel_order


def _as_rgb(network: Network) -> dict[str, Tensor]:
    """Reverse the stem's input channels if it takes BGR."""
    tensors = dict(network.tensors)
    if network.channel_order == 'BGR':
        stems = [k for k, v in tensors.items() if v.ndim == 4 and v.shape[1] == 3]
        tensors |= {k: tensors[k].flip(1) for k in stems}
    return tensors


def _provenance(
    located: Located, project: Project, network: Network, branch: str, part: str
) -> dict[str, str | None]:
    """Origin and licence: first from the file, then from its place, then from its project."""
    record = network.record
    if (record.get('method') or {}).get('heads'):
        own, began = f'densecl, {branch} branch, {network.title}', record.get('origin')
        return {'origin': f'{own}, began as {began}' if began else own, 'licence': record.get('licence')}
    if located.weights.meta.get('format') == FORMAT:
        return {key: record.get(key) for key in ('origin', 'licence')}
    words = [located.origin or project.name, part, network.title]
    return {'origin': ', '.join(w for w in words if w), 'licence': located.licence or project.licence}
