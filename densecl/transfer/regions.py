"""The parts of a detector that find and process regions: RPN, box head and, for C4, the last stage.

In a pretrainer these are inside an object head's projector (:class:`~densecl.models.necks.BoxProjector`,
:class:`~densecl.models.necks.StageProjector`, :class:`~densecl.models.necks.DetectorHeads`).
"""

import re

from torch import Tensor, nn

from .prefixes import copy, counted, fitting, neck_prefix, under
from .report import KeyReport

_SHARED = ('shared_convs.', 'shared_fcs.')
_REGRESSOR = ('fc_reg.weight', 'fc_reg.bias')


def _inside_heads(tensors: dict[str, Tensor], prefix: str, part: str) -> dict[str, Tensor]:
    """The tensors under ``box_head`` or ``stage`` in the projector of the first head that has them.

    Projectors of the online branch are ``heads.<name>.projector``; of the target ``target.heads.<name>``.
    """
    root = re.escape(prefix.removesuffix('backbone.'))
    place = re.compile(rf'^{root}heads\.([^.]+)\.(?:projector\.)?{part}\.(.+)$')
    found: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if match := place.match(key):
            found.setdefault(match[1], {})[match[2]] = tensor
    return next(iter(found.values()), {})


def stage_part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The backbone's last stage, ``layer4.*``, if a pretrainer has it in a head; else {}."""
    return _inside_heads(tensors, prefix, 'stage')


def box_head_part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """``shared_convs.*`` and ``shared_fcs.*`` of the box head beside the backbone under ``prefix``, or {}.

    A class-agnostic regressor ``fc_reg.*`` behind them is included. The regressor of a detector with one
    class has the same four rows, and can be used for all classes too.
    """
    there = _beside(tensors, prefix, 'roi_head.bbox_head.') or _inside_heads(tensors, prefix, 'box_head')
    names = [] if any(key.startswith(('reg_convs.', 'reg_fcs.')) for key in there) else _REGRESSOR
    regressor = {key: there[key] for key in names if key in there and len(there[key]) == 4}
    return {key: value for key, value in there.items() if key.startswith(_SHARED)} | regressor


def rpn_part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The RPN's tensors beside the backbone under ``prefix``, or {}."""
    return _beside(tensors, prefix, 'rpn_head.') or _inside_heads(tensors, prefix, 'rpn_head')


def _beside(tensors: dict[str, Tensor], prefix: str, part: str) -> dict[str, Tensor]:
    return under(tensors, prefix.removesuffix('backbone.') + part)


def stage_of(model: nn.Module) -> dict[str, Tensor]:
    """The tensors of the last stage, if a model keeps it outside its backbone; else {}."""
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
    """Fill a model's box head with the output of :func:`box_head_part`, without its classifier.

    A layer expects the output of the one before. So either the whole head is filled; or only its first layers
    (convolutions without the linear layer), and the rest starts anew, with a warning; or nothing, with a
    warning. A class-agnostic regressor is copied for each class.
    """
    head = getattr(getattr(model, 'roi_head', None), 'bbox_head', None)
    head = _of_heads(model, 'box_head') if head is None else head
    if head is None or not given:
        return
    own = head.state_dict()
    regressor = [key for key in _REGRESSOR if key in given and key in own]
    each = {key: _for_each_class(given[key], own[key]) for key in regressor}
    given = {key: value for key, value in given.items() if key not in _REGRESSOR} | each
    wanted = {key: value for key, value in own.items() if key.startswith(_SHARED) or key in regressor}
    names, total, offered = fitting(wanted, given), len(counted(wanted)), len(counted(given))
    report.box_head_total = total
    layers = [key for start in (*_SHARED, 'fc_reg.') for key in counted(wanted) if key.startswith(start)]
    layers = list(dict.fromkeys(_layer(key) for key in layers))
    filled = {_layer(key) for key in names}
    fresh = [layer for layer in layers if layer not in filled]
    whole = len(names) == sum(_layer(key) in filled for key in counted(wanted))
    if len(names) == offered and whole and filled == set(layers[: len(filled)]):
        copy(wanted, given, names)
        report.box_head_matched = names
        if fresh:
            report.warnings.append(f"the file's box head ends before {fresh[0]}, which starts afresh")
        return
    report.warnings.append(
        f"of the file's {offered} tensors of a box head {len(names)} fit this model's {total}; they "
        "were left out. A fitting one is bbox_head.type='Shared4Conv1FCBBoxHead' with "
        'batch norm (norm_cfg) and the same widths'
    )


def _layer(key: str) -> str:
    """``shared_convs.0.bn.weight`` -> ``shared_convs.0``; ``fc_reg.bias`` -> ``fc_reg``."""
    parts = key.split('.')
    return '.'.join(parts[:2]) if parts[0].startswith('shared_') else parts[0]


def _for_each_class(given: Tensor, wanted: Tensor) -> Tensor:
    """Repeat the four rows of a regressor for each class."""
    return given.repeat(len(wanted) // len(given), *[1] * (given.ndim - 1))


def load_rpn(model: nn.Module, given: dict[str, Tensor], report: KeyReport) -> None:
    """Fill a model's RPN with the output of :func:`rpn_part`: all of it, or nothing with a warning."""
    rpn = getattr(model, 'rpn_head', None)
    rpn = _of_heads(model, 'rpn_head') if rpn is None else rpn
    if rpn is None or not given:
        return
    wanted = rpn.state_dict()
    names, total, offered = fitting(wanted, given), len(counted(wanted)), len(counted(given))
    report.rpn_total = total
    if len(names) == total == offered:
        copy(wanted, given, names)
        report.rpn_matched = names
        return
    report.warnings.append(
        f"of the file's {offered} tensors of an RPN {len(names)} fit this model's {total}; they were left "
        'out. A fitting one has the same width, and as many anchors at a place (scales, ratios)'
    )


# mmdet's lists of layers -> detectron2's name before the number.
_LISTS = {
    'lateral_convs': 'backbone.fpn_lateral',
    'fpn_convs': 'backbone.fpn_output',
    'shared_convs': 'roi_heads.box_head.conv',
    'shared_fcs': 'roi_heads.box_head.fc',
}
_MMDET_LISTS = {theirs: ours for ours, theirs in _LISTS.items()}
# detectron2 has no batch counters.
_LEAF = r'(weight|bias|running_mean|running_var)$'
_MMDET = re.compile(rf'^({"|".join(_LISTS)})\.(\d+)\.(?:(conv|bn)\.)?{_LEAF}')
_D2 = re.compile(rf'^({"|".join(map(re.escape, _MMDET_LISTS))})(\d+)\.(norm\.)?{_LEAF}')


def neck_to_detectron2(neck: dict[str, Tensor], last: int = 5) -> dict[str, Tensor]:
    """An mmdet FPN's tensors under detectron2's names; {} for a neck of another kind.

    Extra convolutions behind the pyramid have no counterpart.

    Args:
        neck: tensors by their names in the module.
        last: number of the stage (5 for ``res5``) that the last lateral convolution reads.
    """
    numbers = {key: int(match[2]) for key in neck if (match := _MMDET.match(key))}
    top = max((n for key, n in numbers.items() if key.startswith('lateral')), default=-1)
    return _to_detectron2({key: neck[key] for key, n in numbers.items() if n <= top}, last - top)


def box_head_to_detectron2(head: dict[str, Tensor]) -> dict[str, Tensor]:
    """A box head's tensors under the names of detectron2's ``FastRCNNConvFCHead``."""
    return _to_detectron2(head, 1)


def _to_detectron2(tensors: dict[str, Tensor], shift: int) -> dict[str, Tensor]:
    """Rename mmdet's layer i to detectron2's layer i + ``shift``."""
    renamed = {}
    for key, tensor in tensors.items():
        if match := _MMDET.match(key):
            norm = 'norm.' if match[3] == 'bn' else ''
            renamed[f'{_LISTS[match[1]]}{int(match[2]) + shift}.{norm}{match[4]}'] = tensor
    return renamed


def regions_from_detectron2(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Give a detectron2 detector's pyramid and box head mmdet's names; other tensors are not changed.

    Args:
        tensors: all tensors of the file.
        prefix: prefix of its backbone; the new names are beside the backbone.
    """
    matches = {key: match for key in tensors if (match := _D2.match(key))}
    lowest = min((int(m[2]) for m in matches.values() if m[1].endswith('lateral')), default=0)
    beside = prefix.removesuffix('backbone.') + 'roi_head.bbox_head.'
    renamed = {}
    for key, tensor in tensors.items():
        if match := matches.get(key):
            layers = _MMDET_LISTS[match[1]]
            place, first = (beside, 1) if layers.startswith('shared') else (neck_prefix(prefix), lowest)
            part = '' if layers == 'shared_fcs' else 'bn.' if match[3] else 'conv.'
            key = f'{place}{layers}.{int(match[2]) - first}.{part}{match[4]}'
        renamed[key] = tensor
    return renamed
