"""Data preprocessors of mmdet and mmseg for images with any number of channels."""

from collections.abc import Sequence

import torch
from torch import nn

from densecl.registry import MODELS


@MODELS.register_module('SensorDataPreprocessor')
def sensor_data_preprocessor(base: str, mean: Sequence[float], std: Sequence[float], **options) -> nn.Module:
    """A data preprocessor of mmdet or mmseg, with ``mean`` and ``std`` of any length.

    The class of mmengine, on which mmdet's is based, takes only one or three values.

    Args:
        base: name of the class, ``'mmdet.DetDataPreprocessor'`` or ``'mmseg.SegDataPreProcessor'``.
        mean: mean of each channel, in the units of the images.
        std: standard deviation of each channel, in the same units.
        **options: further arguments of the class, for example ``pad_size_divisor``.

    Raises:
        ValueError: lengths differ or are 0, a std is not above 0, or the options swap channels.
    """
    if len(mean) != len(std) or not len(mean) or min(std) <= 0:
        raise ValueError(
            'SensorDataPreprocessor: mean and std need one value a channel, std above 0; '
            f'got {mean} and {std}'
        )
    swapped = [name for name in ('bgr_to_rgb', 'rgb_to_bgr') if options.get(name)]
    if swapped:
        raise ValueError(
            f'SensorDataPreprocessor: {swapped[0]} must go: LoadSensorImage keeps the order of the file'
        )
    processor = MODELS.build({'type': base, **options})
    for name, values in (('mean', mean), ('std', std)):
        value = torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)
        processor.register_buffer(name, value, persistent=False)
    processor._enable_normalize = True
    processor.channel_order = 'RGB' if len(mean) == 3 else None
    return processor
