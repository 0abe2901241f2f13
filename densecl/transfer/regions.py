"""The part of a detector that works on regions: the box head, or (C4) the backbone's last stage.

A pretrainer keeps it at the front of an object head's projector
(:class:`~densecl.models.necks.BoxProjector`, :class:`~densecl.models.necks.StageProjector`).
"""

import re

from torch import Tensor, nn

from .copying import copy, counted, fitting
from .prefixes import neck_prefix
from .report import KeyReport

_SHARED = ('shared_convs.', 'shared_fcs.')


def _inside_heads(tensors: dict[str, Tensor], prefix: str, part: str) -> dict[str, Tensor]:
    """What stands under ``part`` of a head's projector, of the first head that has it.

    Args:
        tensors: of the whole file.
        prefix: of the branch's backbone. The online branch's projectors are ``heads.<name>.projector``, the
            target's ``target.heads.<name>``.
        part: ``box_head`` or ``stage``.
    """
    root = re.escape(prefix.removesuffix('backbone.'))
    place = re.compile(rf'^{root}heads\.([^.]+)\.(?:projector\.)?{part}\.(.+)$')
    found: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if match := place.match(key):
            found.setdefault(match[1], {})[match[2]] = tensor
    return next(iter(found.values()), {})


def stage_part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The backbone's last stage where a pretrainer keeps it in a head: ``layer4.*``; {} elsewhere."""
    return _inside_heads(tensors, prefix, 'stage')


def box_head_part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The box head beside the backbone under ``prefix``, of a pretrainer, an export or a detector.

    Returns:
        ``shared_convs.*`` and ``shared_fcs.*``; {} where there is none.
    """
    root = prefix.removesuffix('backbone.') + 'roi_head.bbox_head.'
    there = {k.removeprefix(root): v for k, v in tensors.items() if k.startswith(root)}
    there = there or _inside_heads(tensors, prefix, 'box_head')
    return {key: value for key, value in there.items() if key.startswith(_SHARED)}


def stage_of(model: nn.Module) -> dict[str, Tensor]:
    """The tensors of the last stage where a model keeps it apart from its backbone, else nothing."""
    shared = getattr(getattr(model, 'roi_head', None), 'shared_head', None)
    if shared is not None:
        return shared.state_dict()
    stage = _of_heads(model, 'stage')
    own = {} if stage is None else model.backbone.state_dict()
    return {} if stage is None else {k: v for k, v in stage.state_dict().items() if k not in own}


def _of_heads(model: nn.Module, part: str) -> nn.Module | None:
    heads = getattr(model, 'heads', None)
    heads = heads.values() if isinstance(heads, nn.ModuleDict) else ()
    parts = (getattr(getattr(head, 'projector', None), part, None) for head in heads)
    return next((found for found in parts if found is not None), None)


def load_box_head(model: nn.Module, given: dict[str, Tensor], report: KeyReport) -> None:
    """Fill the box head of a detector (or pretrainer) whole or not at all, but for its outputs.

    A part of a box head is worth nothing: the linear layer expects the last convolution's output.

    Args:
        model: where it has no box head, nothing happens.
        given: see :func:`box_head_part`.
        report: gets the result, and a warning where the two do not fit.
    """
    head = getattr(getattr(model, 'roi_head', None), 'bbox_head', None)
    head = _of_heads(model, 'box_head') if head is None else head
    if head is None or not given:
        return
    wanted = {key: value for key, value in head.state_dict().items() if key.startswith(_SHARED)}
    names, total, offered = fitting(wanted, given), len(counted(wanted)), len(counted(given))
    report.box_head_total = total
    if len(names) == total == offered:
        copy(wanted, given, names)
        report.box_head_matched = names
    else:
        report.warnings.append(
            f"of the file's {offered} tensors of a box head {len(names)} fit this model's {total}; they "
            "were left out. A fitting one is bbox_head.type='Shared4Conv1FCBBoxHead' with "
            'batch norm (norm_cfg) and the same widths'
        )


# Batch counters have no place in detectron2.
_LEAF = r'(weight|bias|running_mean|running_var)$'
_LATERAL = re.compile(rf'^(lateral|fpn)_convs\.(\d+)\.(conv|bn)\.{_LEAF}')
_SHARED_KEY = re.compile(rf'^shared_(convs|fcs)\.(\d+)\.(?:(conv|bn)\.)?{_LEAF}')


def neck_to_detectron2(neck: dict[str, Tensor], last: int = 5) -> dict[str, Tensor]:
    """An mmdet FPN's tensors under detectron2's names; {} for a neck of another kind.

    Extra convolutions behind the pyramid have no counterpart.

    Args:
        neck: names as in the module.
        last: the stage (``res5``) that the last lateral convolution reads.
    """
    matches = {key: match for key in neck if (match := _LATERAL.match(key))}
    top = max((int(m[2]) for m in matches.values() if m[1] == 'lateral'), default=-1)
    renamed = {}
    for key, match in matches.items():
        if int(match[2]) <= top:
            kind = 'lateral' if match[1] == 'lateral' else 'output'
            norm = 'norm.' if match[3] == 'bn' else ''
            renamed[f'backbone.fpn_{kind}{int(match[2]) + last - top}.{norm}{match[4]}'] = neck[key]
    return renamed


def box_head_to_detectron2(head: dict[str, Tensor]) -> dict[str, Tensor]:
    """A box head's tensors under the names of detectron2's ``FastRCNNConvFCHead``."""
    renamed = {}
    for key, tensor in head.items():
        if match := _SHARED_KEY.match(key):
            kind = 'conv' if match[1] == 'convs' else 'fc'
            norm = 'norm.' if match[3] == 'bn' else ''
            renamed[f'roi_heads.box_head.{kind}{int(match[2]) + 1}.{norm}{match[4]}'] = tensor
    return renamed


_D2_NECK = re.compile(rf'^backbone\.fpn_(lateral|output)(\d)\.(norm\.)?{_LEAF}')
_D2_BOX = re.compile(rf'^roi_heads\.box_head\.(conv|fc)(\d+)\.(norm\.)?{_LEAF}')


def regions_from_detectron2(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Give a detectron2 detector's pyramid and box head mmdet's names; others pass through unchanged.

    Args:
        tensors: of the whole file.
        prefix: of its backbone, beside which the names then stand.
    """
    necks = {key: match for key in tensors if (match := _D2_NECK.match(key))}
    lowest = min((int(m[2]) for m in necks.values() if m[1] == 'lateral'), default=0)
    beside = prefix.removesuffix('backbone.') + 'roi_head.bbox_head.'
    renamed = {}
    for key, tensor in tensors.items():
        if match := necks.get(key):
            kind = 'lateral' if match[1] == 'lateral' else 'fpn'
            place = f'{kind}_convs.{int(match[2]) - lowest}.{"bn" if match[3] else "conv"}.{match[4]}'
            key = neck_prefix(prefix) + place
        elif match := _D2_BOX.match(key):
            part = '' if match[1] == 'fc' else 'bn.' if match[3] else 'conv.'
            key = f'{beside}shared_{match[1]}s.{int(match[2]) - 1}.{part}{match[4]}'
        renamed[key] = tensor
    return renamed
