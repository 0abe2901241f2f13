"""The backbone that a run will export, in its present state: its tensors, a file, an image encoder."""

import copy
from pathlib import Path

import torch
from torch import Tensor, nn

from densecl.files import atomic_write
from densecl.models.backbones.low_rank import fold_low_rank, load_folded

from .wrapped import unwrap


def exported_branch(runner) -> nn.Module:
    """The branch of the model that is exported; it has ``backbone`` and ``neck``."""
    model = unwrap(runner.model)
    return model.target if getattr(model, 'export_branch', 'online') == 'target' else model


def plain_tensors(backbone: nn.Module) -> dict[str, Tensor]:
    """A copy on the CPU of the plain network's tensors; low-rank additions (LoRA) are merged into them."""
    plain = fold_low_rank(backbone.state_dict())
    return {name: tensor.detach().cpu().clone() for name, tensor in plain.items()}


def run_meta(runner) -> dict:
    """What a file of the run's backbone says about it: config, name, and the weights that it started from."""
    from densecl.transfer import PretrainedHook

    starts = (hook.start for hook in runner.hooks if isinstance(hook, PretrainedHook) and hook.part is None)
    return dict(
        cfg=runner.cfg.pretty_text,
        experiment_name=runner.experiment_name,
        start=next(starts, None),
    )


def frozen_encoder(runner, meta: dict, tensors: dict[str, Tensor] | None = None):
    """An encoder of images of any size: the backbone of the run, or a copy of it with other tensors.

    Args:
        runner: of the run.
        meta: result of :func:`run_meta`.
        tensors: result of :func:`plain_tensors`; None uses the backbone itself.

    Returns:
        :class:`densecl.evaluation.features.FrozenEncoder` on the device of the model.
    """
    from densecl.evaluation.features import FrozenEncoder
    from densecl.transfer.read import Weights
    from densecl.transfer.record import training_record

    backbone = exported_branch(runner).backbone
    if tensors is not None or getattr(unwrap(runner.model), 'compile_backbone', False):
        backbone = copy.deepcopy(backbone)  # a copy is not compiled, as images here have many sizes
    if tensors is not None:
        load_folded(backbone, tensors)
    record = training_record(Weights({}, meta), backbone.state_dict(), 'online')
    decoder = getattr(runner.train_dataloader.dataset, 'decoder', None)
    return FrozenEncoder(backbone, record, decoder).to(next(backbone.parameters()).device)


def save_backbone(runner, name: str, tensors: dict[str, Tensor], meta: dict, neck=None) -> None:
    """Write the exported backbone, and the neck, into the run's folder as its checkpoint would have them."""
    prefix = '' if exported_branch(runner) is unwrap(runner.model) else 'target.'
    state = {f'{prefix}backbone.{key}': tensor for key, tensor in tensors.items()}
    if neck is not None:
        state |= {f'{prefix}neck.{key}': tensor for key, tensor in neck.state_dict().items()}
    with atomic_write(Path(runner.work_dir) / name) as temporary:
        torch.save({'state_dict': state, 'meta': meta}, temporary)


def read_backbone(runner, path: Path) -> dict[str, Tensor] | None:
    """The tensors of a backbone in a file, or None if no file has tensors that fit."""
    from densecl.transfer import load_backbone

    loaded = copy.deepcopy(exported_branch(runner).backbone)
    try:
        load_backbone(loaded, path, min_match=1)
    except (OSError, RuntimeError, ValueError):
        return None
    return plain_tensors(loaded)
