"""Mean, standard deviation and range of each channel, estimated from a sample of unaugmented images."""

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from mmengine.logging import print_log

from .decode import decode_image
from .pretrain_dataset import PretrainDataset
from .sources import Source
from .unreadable import UnreadableImageError

RANGE = (0.1, 99.9)  # the percentiles ``low`` and ``high``
PIXELS = 16384  # largest number of pixels per image that are used for the percentiles


@dataclass
class Statistics:
    """Statistics of the values of a set of images.

    Attributes:
        mean, std: of each channel, over all measured pixels.
        low, high: of each channel, the percentiles 0.1 and 99.9.
        dtype: ``uint8``, ``uint16`` or ``float32``.
        channels: their number C.
        images: how many were read.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    dtype: str
    channels: int
    images: int

    @property
    def settings(self) -> dict[str, tuple[float, ...]]:
        """Arguments of ``PretrainDataPreprocessor``: mean, std, and low, high unless this is 8-bit RGB."""
        rgb = self.dtype == 'uint8' and self.channels == 3
        names = ('mean', 'std') if rgb else ('mean', 'std', 'low', 'high')
        return {name: value for name, value in asdict(self).items() if name in names}


def estimate_statistics(
    images: PretrainDataset | Source, count: int = 512, seed: int = 0, decoder: Callable | None = None
) -> Statistics:
    """Estimate from ``count`` images drawn without replacement; views and augmentation play no part.

    NaN and infinite values are left out, and values that the decoder marks as not measured. Mean and standard
    deviation are over all pixels of the sample; percentiles over at most 16,384 evenly spread pixels per
    image.

    Args:
        images: a data set, whose decoder is used, or a source.
        count: number of images; all if there are fewer.
        seed: seed of the choice.
        decoder: for a source, a :class:`densecl.datasets.SensorDecoder`; None: 8-bit RGB.

    Raises:
        UnreadableImageError: an image cannot be read (of a data set with ``on_error='skip'``: none can).
        ValueError: the images have different bit depths, or a channel has only one value.
    """
    decoder = getattr(images, 'decoder', decoder)
    chosen = np.random.default_rng(seed).permutation(len(images))[:count]
    sums, samples, first, last = [], [], None, None
    for index in sorted(chosen.tolist()):
        data, name = images.load(index)
        try:
            pixels, valid = _read(data, name, decoder, getattr(images, 'high_depth', 'range'))
        except UnreadableImageError as error:
            if getattr(images, 'on_error', 'raise') == 'raise':
                raise
            last = error
            print_log(f'left out of the statistics: {error}', 'current', logging.WARNING)
            continue
        first = first or (pixels.dtype.name, name)
        if pixels.dtype.name != first[0]:
            raise ValueError(
                f'{first[1]} holds {first[0]} values, {name} {pixels.dtype}: take images of one depth'
            )
        planes = [_measured(pixels, valid, i) for i in range(pixels.shape[2])]
        sums.append([_moments(plane) for plane in planes])
        samples.append([plane[:: -(-len(plane) // PIXELS) or 1] for plane in planes])
    if not sums:
        raise last or UnreadableImageError('there is no image to estimate statistics from')
    mean, std = _pooled(np.array(sums))
    low, high = np.array([np.percentile(np.concatenate(c), RANGE) for c in zip(*samples, strict=True)]).T
    for i in np.flatnonzero(std <= 0):
        raise ValueError(
            f'channel {i} has the value {mean[i]:g} in all {len(sums)} images: leave it out with the '
            "decoder's bands"
        )
    values = [tuple(float(f'{v:.6g}') for v in each) for each in (mean, std, low, high)]
    return Statistics(*values, dtype=first[0], channels=len(mean), images=len(sums))


def _read(data, name: str, decoder, high_depth: str) -> tuple[np.ndarray, np.ndarray | None]:
    if decoder is None:
        return decode_image(data, name, high_depth), None
    if hasattr(decoder, 'read'):
        return decoder.read(data, name)
    return decoder(data, name), None


def _measured(pixels: np.ndarray, valid: np.ndarray | None, channel: int) -> np.ndarray:
    """The measured values of a channel, (N,); N may be 0."""
    plane = pixels[:, :, channel]
    return plane.ravel() if valid is None else plane[valid[:, :, channel]]


def _moments(values: np.ndarray) -> tuple[float, float, float]:
    """Number, mean and mean squared deviation."""
    if not len(values):
        return 0.0, 0.0, 0.0
    return len(values), values.mean(dtype=np.float64), values.var(dtype=np.float64)


def _pooled(moments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (C,) of all pixels from (images, C, 3) of :func:`_moments`."""
    counts, means, variances = np.moveaxis(moments, 2, 0)
    share = counts / np.maximum(counts.sum(0), 1)
    mean = (share * means).sum(0)
    return mean, np.sqrt((share * (variances + (means - mean) ** 2)).sum(0))
