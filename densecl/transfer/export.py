"""Writes a pretrained backbone with the names of the project that will use it."""

import json
import pickle
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from densecl.files import atomic_write
from densecl.messages import check_choice

from .dialects import PLAIN_RESNET_ONLY, TARGETS, backbone_part, is_resnet, stem_of, to_detectron2
from .huggingface import save_folder, to_huggingface
from .positions import linear_how_to_load
from .prefixes import BRANCHES, backbone_prefixes, branch_of, neck_prefix, under
from .read import Weights, read_weights
from .record import FORMAT, evaluated_branch, training_record
from .regions import box_head_part, box_head_to_detectron2, neck_to_detectron2, rpn_part, stage_part
from .timm_names import is_timm, timm_how_to_load, whole_names
from .vit import DIALECTS, inexpressible, to_dialect, vit_dialect
from .vit_settings import vit_how_to_load

SUFFIXES = {'safetensors': '.safetensors', 'detectron2': '.pkl', 'huggingface': ''}
_HOW = {
    'mmdet': "--pretrained FILE, or backbone.init_cfg=dict(type='Pretrained', checkpoint=FILE)",
    'mmseg': "backbone.type='ResNet' (not ResNetV1c) and --pretrained FILE, or "
    "backbone.init_cfg=dict(type='Pretrained', checkpoint=FILE)",
    'torchvision': "load_state_dict(torch.load(FILE)['state_dict'], strict=False); lacks fc only",
    'timm': "load_state_dict(torch.load(FILE)['state_dict'], strict=False); lacks fc only",
    'detectron2': 'MODEL.WEIGHTS FILE',
    'huggingface': 'transformers.AutoModel.from_pretrained(FOLDER)',
    'safetensors': 'safetensors.torch.load_file(FILE); names as in torchvision and mmdet',
}


def export_backbone(
    checkpoint: str | Path | dict, target: str = 'mmdet', branch: str = 'auto', without: str | None = None
) -> dict[str, Any]:
    """Take the backbone out of a pretraining checkpoint and give it the names of ``target``.

    Args:
        checkpoint: path, or the content of a checkpoint.
        target: one of ``TARGETS``. ``mmdet``, ``safetensors`` and ``detectron2`` (a feature pyramid) also
            export neck and box head if they exist: ``neck.*``, ``roi_head.bbox_head.shared_*``, or
            detectron2's names. The first two also export RPN and regressor: ``rpn_head.*`` and
            ``roi_head.bbox_head.fc_reg.*``. A last stage that was pretrained on regions (C4) is exported as a
            part of the backbone. A vision transformer gets mmseg's names for ``mmdet`` and ``mmseg``, those
            of transformers (ViT, DINOv2; in a folder) for ``huggingface``, and timm's otherwise.
        branch: ``online`` (query encoder, most papers' choice), ``target`` (its moving average), or
            ``auto``: the branch that the method evaluates, see
            :func:`densecl.transfer.record.evaluated_branch`.
        without: regular expression of parts of neck, RPN and box head that are not exported. It is matched
            with the beginning of their names in mmdet: ``'neck|roi_head'``, ``'roi_head.*fcs'``.

    Returns:
        ``state_dict`` (name -> CPU tensor) and ``meta``, a record of the training as data for JSON.

    Raises:
        ValueError: unknown target or branch, no such branch, a backbone that the target cannot express, or
            ``without`` matches nothing.
    """
    check_choice('target', target, TARGETS)
    check_choice('branch', branch, ('auto', *BRANCHES))
    weights = read_weights(checkpoint)
    branch = evaluated_branch(weights) if branch == 'auto' else branch
    prefix = find_prefix(weights, branch)
    # The backbone's own last stage is preferred to one of the same name that works on regions.
    tensors = stage_part(weights.tensors, prefix) | backbone_part(under(weights.tensors, prefix))
    meta = training_record(weights, tensors, branch)
    _check_expressible(tensors, meta, target)
    vit = vit_dialect(tensors)
    if target == 'huggingface':
        tensors, meta['huggingface'] = to_huggingface(tensors, meta)
    elif vit:
        tensors = to_dialect(tensors, DIALECTS[target])
    elif target == 'timm':
        tensors = whole_names(tensors)
    parts = {
        'neck': under(weights.tensors, neck_prefix(prefix)),
        'roi_head.bbox_head': box_head_part(weights.tensors, prefix),
        'rpn_head': rpn_part(weights.tensors, prefix),
    }
    if without is not None:
        parts = _without(parts, without, weights.source)
    neck, box_head, rpn = parts.values()
    if target == 'detectron2':
        last = max(meta.get('out_indices') or [3]) + 2
        tensors = to_detectron2(tensors) | neck_to_detectron2(neck, last)
        tensors |= box_head_to_detectron2(box_head)
    elif target in ('mmdet', 'safetensors'):
        tensors |= {f'{part}.{key}': value for part, held in parts.items() for key, value in held.items()}
    how = (
        vit_how_to_load(target, meta)
        if vit and target in DIALECTS
        else timm_how_to_load(target, meta) or linear_how_to_load(meta) or _HOW[target]
    )
    if target == 'detectron2' and not vit:
        how = _detectron2_how(meta)
    if target == 'mmdet' and (neck or box_head or rpn):
        how = '--pretrained FILE (backbone.init_cfg would take the backbone alone)'
    meta |= {'dialect': target, 'how_to_load': how}
    # Contiguous copies: a view would save its whole storage.
    form = torch.contiguous_format
    own = {key: tensor.detach().cpu().clone(memory_format=form) for key, tensor in tensors.items()}
    return {'state_dict': own, 'meta': meta}


def _detectron2_how(meta: dict[str, Any]) -> str:
    """detectron2's defaults are another ResNet: its stride in the 1x1 convolution, BGR, a deviation of 1."""
    said = [_HOW['detectron2']]
    if meta.get('depth'):
        bottleneck_stride = meta.get('style') == 'caffe'
        said.append(f'MODEL.RESNETS.DEPTH {meta["depth"]} MODEL.RESNETS.STRIDE_IN_1X1 {bottleneck_stride}')
        if meta['depth'] in (18, 34):  # detectron2 asserts this width, and its default is another
            said.append('MODEL.RESNETS.RES2_OUT_CHANNELS 64')
    if meta.get('mean') and meta.get('std'):
        order = meta.get('channel_order') or 'RGB'
        mean, std = (json.dumps([round(x, 3) for x in meta[name]]) for name in ('mean', 'std'))
        said.append(f"INPUT.FORMAT {order} MODEL.PIXEL_MEAN '{mean}' MODEL.PIXEL_STD '{std}'")
    return ' '.join(said)


def _without(parts: dict[str, dict[str, Tensor]], pattern: str, source: str) -> dict[str, dict[str, Tensor]]:
    """The parts beside a backbone without those that match ``pattern``, see :func:`export_backbone`."""
    try:
        leaves = re.compile(pattern)
    except re.error as error:
        raise ValueError(f'without={pattern!r} is no regular expression: {error}') from error
    kept = {
        part: {key: value for key, value in held.items() if not leaves.match(f'{part}.{key}')}
        for part, held in parts.items()
    }
    if all(len(kept[part]) == len(held) for part, held in parts.items()):
        there = ', '.join(part for part, held in parts.items() if held) or 'nothing but a backbone'
        raise ValueError(f'without={pattern!r} matches nothing beside the backbone; {source} has {there}')
    return kept


def find_prefix(weights: Weights, branch: str) -> str:
    """The prefix of a branch's backbone; if it is missing, a ValueError says what the file has."""
    prefixes = backbone_prefixes(weights.tensors) or [''] * (weights.meta.get('format') == FORMAT)
    said = weights.meta.get('branch')
    fitting = [p for p in prefixes if (said or branch_of(p)) == branch]
    if fitting:
        return fitting[0]
    there = ', '.join(f"{said or branch_of(p)} ('{p}*')" for p in prefixes) or 'no backbone at all'
    raise ValueError(f'{weights.source} has no {branch} branch; it holds {there}')


def _check_expressible(tensors: dict[str, Tensor], meta: dict, target: str) -> None:
    if vit_dialect(tensors):
        if target != 'huggingface':  # there each name is checked separately
            _check_vit(tensors, target)
        return
    if target == 'huggingface':
        raise ValueError('huggingface export knows vision transformers only; use timm or safetensors')
    if target in ('mmdet', 'mmseg', 'safetensors') or (target == 'timm' and is_timm(meta)):
        return
    if not is_resnet(tensors):
        kinds = "vision transformers, ResNets and timm's models" if target in DIALECTS else 'plain ResNets'
        instead = 'mmdet, mmseg, timm or safetensors' if is_timm(meta) else 'mmdet, mmseg or safetensors'
        raise ValueError(f'{target} export knows {kinds} only; use {instead}')
    instead = 'mmdet, mmseg or safetensors'
    bottleneck = 'layer1.0.conv3.weight' in tensors
    if stem_of(tensors) == 'deep':
        reason = 'one 7x7 convolution as stem, this backbone three 3x3 (ResNetV1c)'
    elif (width := len(tensors['conv1.weight'])) != 64:
        reason = f'64 channels in its first convolution, this backbone {width} (base_channels)'
    elif target in PLAIN_RESNET_ONLY and bottleneck and meta.get('style') == 'caffe':
        reason = "its stride in the 3x3 convolution, this backbone (style='caffe') in the first 1x1"
        instead = 'mmdet, mmseg, detectron2 (STRIDE_IN_1X1) or safetensors'
    else:
        return
    raise ValueError(f"{target}'s ResNet has {reason}; use {instead}")


def _check_vit(tensors: dict[str, Tensor], target: str) -> None:
    if target not in DIALECTS:
        raise ValueError(f'{target} export knows no vision transformers; use {", ".join(DIALECTS)}')
    strange = inexpressible(tensors, DIALECTS[target])
    if strange:
        raise ValueError(
            f"{target} reads {DIALECTS[target]}'s plain ViT, which has no counterpart for "
            f'{", ".join(strange[:3])} ({len(strange)} in all); use timm or safetensors'
        )


def save_export(export: dict[str, Any], out: str | Path) -> Path:
    """Write an export under a temporary name, then rename it to ``out`` in one step; return ``out``.

    The export's target decides the kind of file: ``.safetensors`` (the record as JSON strings in
    the metadata), a detectron2 pickle, a folder (``huggingface``), or a torch file with ``state_dict`` and
    ``meta``.
    """
    if export['meta'].get('dialect') == 'huggingface':
        return save_folder(export, out)
    with atomic_write(out) as temporary:
        _write(export, Path(temporary))
    return Path(out)


def _write(export: dict[str, Any], path: Path) -> None:
    dialect = export['meta'].get('dialect')
    if dialect == 'safetensors':
        from safetensors.torch import save_file

        metadata = {key: json.dumps(value) for key, value in export['meta'].items()}
        save_file(export['state_dict'], str(path), metadata={'format': 'pt', **metadata})
    elif dialect == 'detectron2':
        arrays = {key: value.numpy() for key, value in export['state_dict'].items()}
        content = {'model': arrays, '__author__': 'densecl', 'matching_heuristics': True}
        with path.open('wb') as file:
            pickle.dump({**content, 'meta': export['meta']}, file)
    else:
        torch.save(export, path)
