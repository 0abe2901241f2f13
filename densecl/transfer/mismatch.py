"""Why a file does not suit a model, in words that say what to change."""

import torch
from torch import Tensor, nn

from .dialects import depth_of, is_resnet, stem_of
from .report import KeyReport
from .vit import vit_dialect
from .vit_settings import vit_mismatch


def describe_mismatch(
    report: KeyReport,
    given: dict[str, Tensor],
    wanted: dict[str, Tensor],
    record: dict,
    backbone: nn.Module,
    min_match: float,
) -> list[str]:
    """Reasons to refuse a load; empty where there are none.

    Args:
        report: the comparison of names and shapes.
        given: the file's backbone, without prefix.
        wanted: the model's backbone.
        record: see :func:`densecl.transfer.record.training_record`.
        backbone: the module; its ``style`` is compared where it has one.
        min_match: least share of tensors that has to match.
    """
    reasons = []
    if is_resnet(given) and is_resnet(wanted):
        reasons += _stem(stem_of(given), stem_of(wanted))
        reasons += _depth(depth_of(given), depth_of(wanted))
        bottleneck = 'layer1.0.conv3.weight' in wanted
        reasons += _style(record.get('style'), getattr(backbone, 'style', None)) * bottleneck
    if vit_dialect(wanted) and vit_dialect(given):
        reasons += vit_mismatch(record, given, wanted, backbone)
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


def _stem(file: str | None, model: str | None) -> list[str]:
    if file == model:
        return []
    advice = {
        'plain': "use type='ResNet' (mmdet's or mmseg's, deep_stem=False) for the backbone; "
        "mmseg's own configs default to ResNetV1c",
        'deep': "use type='ResNetV1c' (or ResNet with deep_stem=True) for the backbone",
    }
    return [f'the file has a {file} stem, the model a {model} one: {advice[file]}']


def _depth(file: int | None, model: int | None) -> list[str]:
    if file == model or None in (file, model):
        return []
    return [f'the file is a ResNet-{file}, the model a ResNet-{model}: set backbone.depth={file}']


def _style(file: str | None, model: str | None) -> list[str]:
    if file == model or None in (file, model):
        return []
    return [
        f"the file was trained with style='{file}', the model has style='{model}': its stride is "
        'in another convolution, so that the same weights compute something else; set '
        f"backbone.style='{file}'"
    ]


def image_warnings(record: dict, model: nn.Module) -> list[str]:
    """Differences between the images a backbone was trained on and those a model will feed it.

    Args:
        record: ``channel_order``, ``mean`` and ``std`` of the file; None where unknown.
        model: its ``data_preprocessor`` is looked at; images are taken to come in BGR, as mm loads.

    Returns:
        One line a difference, each with the setting that removes it.
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
        if record.get(name) and not _close(record[name], seen[name]):
            lines.append(
                f'{name}: trained with {record[name]}, the model uses {seen[name]}; set '
                f'model.data_preprocessor.{name}={record[name]}'
            )
    return lines


def model_images(model: nn.Module) -> dict | None:
    """Channel order, mean and std that a model's data preprocessor makes; None without one."""
    processor = getattr(model, 'data_preprocessor', None)
    if processor is None:
        return None
    if hasattr(processor, 'shift'):  # densecl's own: RGB, x * scale + shift
        mean, std = -processor.shift / processor.scale, 1 / processor.scale
        return {'channel_order': 'RGB', 'mean': _flat(mean), 'std': _flat(std)}
    # mmengine and mmdet keep the switch under the first name, mmseg under the second.
    swapped = [getattr(processor, n, False) for n in ('_channel_conversion', 'channel_conversion')]
    return {
        'channel_order': 'RGB' if any(swapped) else 'BGR',
        'mean': _flat(getattr(processor, 'mean', None)),
        'std': _flat(getattr(processor, 'std', None)),
    }


def _flat(value: Tensor | None) -> list[float] | None:
    if value is None:
        return None
    return [round(number, 4) for number in torch.as_tensor(value).flatten().tolist()]


def _close(first: list[float], second: list[float] | None) -> bool:
    if second is None or len(first) != len(second):
        return False
    return all(abs(one - two) < 0.05 for one, two in zip(first, second, strict=True))
