"""Loads a pretrained backbone into any model, reports what was loaded, and refuses files that do not fit."""

from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from densecl.messages import check_choice
from densecl.models.backbones.low_rank import without_low_rank

from .dialects import backbone_part
from .mismatch import describe_mismatch, image_warnings
from .prefixes import BRANCHES, branch_of, copy, counted, fitting, matching_prefixes, neck_prefix, under
from .read import Weights, read_weights
from .record import evaluated_branch, training_record
from .regions import box_head_part, load_box_head, load_rpn, rpn_part, stage_of, stage_part
from .report import KeyReport
from .stem import fit_stem
from .timm_names import own_names, whole_names
from .vit import fit_positions, hidden_token, spoken_in, tables_along_sides, to_dialect, vit_dialect
from .vit_settings import vit_eps_warning


def load_backbone(
    model: nn.Module,
    checkpoint: str | Path | dict | Weights,
    branch: str = 'auto',
    min_match: float = 0.95,
    strict_meta: bool = False,
) -> KeyReport:
    """Copy a pretrained backbone into a model; also neck, RPN and box head, if both sides have them.

    The prefix with the most fitting tensors is found automatically. If the file is refused, nothing is
    copied. The target of a momentum pretrainer becomes a copy of the loaded branch. A last stage that works
    on regions (in a C4 detector it is in the RoI head) is a part of the backbone. A vision transformer is
    loaded with timm's and with mmseg's names; its position embedding is resized to the model's grid. An RGB
    stem is inflated if the model has another number of channels, see
    :func:`densecl.transfer.stem.inflate_stem`.

    Args:
        model: a detector, segmentor, pretrainer (anything with ``.backbone``), or a bare backbone.
        checkpoint: path, or the content of a checkpoint; see :func:`densecl.transfer.read_weights`.
        branch: ``online``, ``target``, or ``auto``: the branch that fits best; if both fit, the one that the
            method evaluates, see :func:`densecl.transfer.record.evaluated_branch`.
        min_match: smallest share of the backbone's tensors, without batch counters, that must match in name
            and shape. 0 loads everything that fits, with warnings instead of errors.
        strict_meta: refuse, and do not only warn, if the model normalises images differently.

    Raises:
        RuntimeError: too few tensors match, stem or style differ, or (``strict_meta``) normalisation does.
        ValueError: the file has no such branch.
    """
    weights = read_weights(checkpoint)
    backbone = getattr(model, 'backbone', model)
    wanted = without_low_rank(backbone.state_dict()) | stage_of(model)
    weights = replace(weights, tensors=whole_names(weights.tensors))
    prefix = _best_prefix(weights, whole_names(to_dialect(wanted, spoken_in(weights.tensors))), branch)
    given = stage_part(weights.tensors, prefix) | backbone_part(under(weights.tensors, prefix))
    given = own_names(given, wanted) | hidden_token(under(weights.tensors, prefix), wanted)
    record = training_record(weights, given, branch_of(prefix))
    given, resized = fit_positions(to_dialect(given, vit_dialect(wanted)), wanted)
    given, inflated, stem = fit_stem(given, wanted)
    fresh = [] if tables_along_sides(given) else tables_along_sides(wanted)
    path = [key for key in wanted if key.startswith('cls_pt_layers.')]  # only for BEiT v2's pretraining
    given |= {key: tensor for key, tensor in under(weights.tensors, prefix).items() if key in path}
    path = [key for key in path if key not in given]
    wanted = {key: tensor for key, tensor in wanted.items() if key not in (*fresh, *path)}
    report = _compare(given, wanted, weights.source, prefix, record['branch'])
    positions = 'pos_embed' if 'pos_embed' in wanted else 'relative positions'
    report.resized = resized and f'{positions} {resized}'
    report.inflated, report.stem = inflated, stem

    refusals = describe_mismatch(report, given, wanted, record, backbone, min_match)
    if refusals and min_match > 0:
        raise RuntimeError('\n'.join([f'refused to load {weights.source}', str(report), *refusals]))
    differences = image_warnings(record, model)
    if differences and strict_meta:
        raise RuntimeError('\n'.join([f'refused to load {weights.source}', *differences]))
    report.images = differences
    report.warnings = refusals + differences + vit_eps_warning(record, backbone)
    if fresh:
        report.warnings.append('relative positions start at 0: the file has none')
    if path:
        report.warnings.append("the blocks of the class token's path (cls_pt_layers) start anew")

    copy(wanted, given, report.matched)
    _load_neck(model, under(weights.tensors, neck_prefix(prefix)), report)
    load_box_head(model, box_head_part(weights.tensors, prefix), report)
    load_rpn(model, rpn_part(weights.tensors, prefix), report)
    if hasattr(model, 'init_target'):
        model.init_target()
    return report


def _best_prefix(weights: Weights, wanted: dict[str, Tensor], branch: str) -> str:
    check_choice('branch', branch, ('auto', *BRANCHES))
    counts = matching_prefixes(weights.tensors, wanted)
    # An export's record names its branch; its tensors' names no longer show it.
    said = weights.meta.get('branch')
    branches = {p: said if said in BRANCHES else branch_of(p) for p in counts}
    chosen = {p: n for p, n in counts.items() if branch in ('auto', branches[p])}
    if not chosen and counts:
        there = ' and '.join(sorted(set(branches.values())))
        raise ValueError(
            f'{weights.source} has no {branch} branch of this backbone, only {there}; '
            f"pass branch='auto' or one that is there"
        )
    first = evaluated_branch(weights)
    return max(chosen, key=lambda p: (chosen[p], branches[p] == first, -len(p)), default='')


def _compare(
    given: dict[str, Tensor], wanted: dict[str, Tensor], source: str, prefix: str, branch: str
) -> KeyReport:
    names = counted(wanted)
    shapes = {k: (tuple(given[k].shape), tuple(v.shape)) for k, v in names.items() if k in given}
    return KeyReport(
        source, prefix, branch,
        matched=[k for k, (file, model) in shapes.items() if file == model],
        missing=[k for k in names if k not in given],
        unexpected=[k for k in counted(given) if k not in wanted],
        mismatched={k: (file, model) for k, (file, model) in shapes.items() if file != model},
    )  # fmt: skip


def _load_neck(model: nn.Module, given: dict[str, Tensor], report: KeyReport) -> None:
    """Copy the neck, if all of the file's neck fits the model's, or fills it.

    The model's neck may have more (ReSim trains two levels of a pyramid of four); the rest is not changed.
    """
    neck = getattr(model, 'neck', None)
    if neck is None or not given:
        return
    wanted = neck.state_dict()
    names, total = fitting(wanted, given), len(counted(wanted))
    report.neck_total = total
    if len(names) not in (len(counted(given)), total):
        report.warnings.append(
            f"the file's neck fits {len(names)} of {total} tensors of this model's; it was left out"
        )
        return
    copy(wanted, given, names)
    report.neck_matched = names
    if len(names) < total:
        fresh = sorted({'.'.join(k.split('.')[:2]) for k in counted(wanted) if k not in names})
        report.warnings.append(
            f"the file's neck has {len(names)} of the {total} tensors of this model's; "
            f'the others start afresh: {", ".join(fresh)}'
        )
