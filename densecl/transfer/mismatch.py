"""Explains why a file does not fit a model, and what to change."""

import torch
from torch import Tensor, nn

from .dialects import depth_of, is_resnet, stem_of
from .report import KeyReport
from .stem import other_channels
from .vit import vit_dialect
from .vit_settings import vit_mismatch

_STEM_ADVICE = {
    'plain': "use type='ResNet' (mmdet's or mmseg's, deep_stem=False) for the backbone; "
    "mmseg's own configs default to ResNetV1c",
    'deep': "use type='ResNetV1c' (or ResNet with deep_stem=True) for the backbone",
}


def describe_mismatch(
    report: KeyReport,
    given: dict[str, Tensor],
    wanted: dict[str, Tensor],
    record: dict,
    backbone: nn.Module,
    min_match: float,
) -> list[str]:
    """Reasons to refuse a load; empty if there are none.

    Args:
        report: the comparison of names and shapes.
        given, wanted: the file's backbone and the model's, without prefix.
        record: see :func:`densecl.transfer.record.training_record`.
        backbone: the module; its ``style`` is compared if it has one.
        min_match: smallest share of tensors that must match.
    """
    reasons = []
    if is_resnet(given) and is_resnet(wanted):
        reasons += _resnet_mismatch(record, given, wanted, backbone)
    if vit_dialect(wanted) and vit_dialect(given):
        reasons += vit_mismatch(record, given, wanted, backbone)
    if channels := other_channels(given, wanted):
        name, file, model = channels
        reasons.append(
            f"the file's {name} reads images of {file} channels, the model's {model}: set "
            f'backbone.in_channels={file} (timm: in_chans), or start from weights for RGB, which are inflated'
        )
    if report.fraction < min_match:
        reasons.append(
            f'{len(report.matched)} of {report.total} backbone tensors match '
            f'({100 * report.fraction:.1f} %), at least {100 * min_match:g} % are needed; '
            'min_match=0 loads whatever fits'
        )
        if not report.matched:
            reasons.append(
                'no name under any prefix matches: is this a checkpoint of such a backbone at all?'
            )
    return reasons


def _resnet_mismatch(
    record: dict, given: dict[str, Tensor], wanted: dict[str, Tensor], backbone: nn.Module
) -> list[str]:
    reasons = []
    file, model = stem_of(given), stem_of(wanted)
    if file != model:
        reasons.append(f'the file has a {file} stem, the model a {model} one: {_STEM_ADVICE[file]}')
    file, model = depth_of(given), depth_of(wanted)
    if file != model and None not in (file, model):
        reasons.append(f'the file is a ResNet-{file}, the model a ResNet-{model}: set backbone.depth={file}')
    file, model = record.get('style'), getattr(backbone, 'style', None)
    if file != model and None not in (file, model) and 'layer1.0.conv3.weight' in wanted:
        reasons.append(
            f"the file was trained with style='{file}', the model has style='{model}': its stride is in "
            'another convolution, so that the same weights compute something else; set '
            f"backbone.style='{file}'"
        )
    return reasons


def image_warnings(record: dict, model: nn.Module) -> list[str]:
    """Differences between the normalisation in pretraining and in a model, with the settings to change.

    Args:
        record: ``channel_order``, ``mean`` and ``std`` of the file; None if unknown.
        model: its ``data_preprocessor`` is checked; images are assumed to be BGR, as mm loads them.
    """
    seen = model_images(model)
    if seen is None:
        return []
    lines = []
    trained = record.get('channel_order')
    if trained and seen['channel_order'] and trained != seen['channel_order']:
        lines.append(
            f'channel order: trained on {trained}, the model feeds {seen["channel_order"]}; set '
            f'model.data_preprocessor.bgr_to_rgb={trained == "RGB"}'
        )
    for name in ('mean', 'std'):
        if record.get(name) and _differ(record[name], seen[name]):
            lines.append(
                f'{name}: trained with {record[name]}, the model uses {seen[name]}; set '
                f'model.data_preprocessor.{name}={record[name]}'
            )
    return lines


def model_images(model: nn.Module) -> dict | None:
    """Channel order, mean and std of a model's data preprocessor; None without one."""
    processor = getattr(model, 'data_preprocessor', None)
    if processor is None:
        return None
    if hasattr(processor, 'shift'):  # densecl's own: x * scale + shift, RGB if there are three channels
        mean, std = _flat(-processor.shift / processor.scale), _flat(1 / processor.scale)
        return {'channel_order': 'RGB' if len(mean) == 3 else None, 'mean': mean, 'std': std}
    if hasattr(processor, 'channel_order'):  # densecl.SensorDataPreprocessor: the decoder's order
        order = processor.channel_order
        return {'channel_order': order, 'mean': _flat(processor.mean), 'std': _flat(processor.std)}
    # mmengine and mmdet call this switch by the first name, mmseg by the second.
    swapped = [getattr(processor, n, False) for n in ('_channel_conversion', 'channel_conversion')]
    return {
        'channel_order': 'RGB' if any(swapped) else 'BGR',
        'mean': _flat(getattr(processor, 'mean', None)),
        'std': _flat(getattr(processor, 'std', None)),
    }


def _flat(value: Tensor | None) -> list[float] | None:
    return (
        None if value is None else [round(number, 4) for number in torch.as_tensor(value).flatten().tolist()]
    )


def _differ(file: list[float], model: list[float] | None) -> bool:
    """Whether statistics differ; not compared if the number of channels differs (these are other images)."""
    if model is None:
        return True
    pairs = zip(file, model, strict=False)
    return len(file) == len(model) and any(abs(one - two) >= 0.05 for one, two in pairs)
