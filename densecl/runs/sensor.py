"""Images other than 8-bit photos: they need their own decoder, statistics and stem."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from densecl.settings.config_text import Source

_BANDS = {'.tif', '.tiff', '.npy', '.dcm', '.dicom'}
_LOOKED_AT = 128
#: Colour operators need RGB. Blur is left out too, as it does not suit every sensor.
_PHOTOMETRIC = dict(brightness=0.4, contrast=0.4, jitter_prob=0.8)


@dataclass(frozen=True)
class Sensor:
    """Settings for such images in a config.

    Attributes:
        decoder: config of :class:`densecl.datasets.SensorDecoder`.
        images: mean, std, low and high of each channel, for the data preprocessor.
    """

    decoder: dict[str, Any]
    images: dict[str, Any]

    @property
    def channels(self) -> int:
        """Channels of an image."""
        return self.decoder['channels']


def look_at_sensor(paths: Sequence[str]) -> Sensor | None:
    """Channels and bit depth of the first image, statistics of up to 128 images; None for 8-bit photos.

    Raises:
        UnreadableImageError: the first image cannot be read.
    """
    from densecl.datasets import estimate_statistics
    from densecl.datasets.sources import FileSource

    decoder = decoder_of_photos(paths)
    if decoder is None:
        return None
    found = estimate_statistics(FileSource(paths), _LOOKED_AT, decoder=decoder)
    images = {name: [round(value, 4) for value in values] for name, values in found.settings.items()}
    return Sensor(dict(type='SensorDecoder', channels=decoder.channels, dtype=decoder.dtype), images)


def decoder_of_photos(paths: Sequence[str]):
    """A :class:`densecl.datasets.SensorDecoder` for images as the first readable one, None for 8-bit.

    Raises:
        UnreadableImageError: none of the first hundred can be read.
    """
    from densecl.datasets import SensorDecoder

    path, pixels = _first_readable(paths[:100])
    channels, depth = pixels.shape[2], pixels.dtype.name
    transparent = channels in (2, 4) and Path(path).suffix.lower() not in _BANDS
    if depth == 'uint8' and (channels in (1, 3) or transparent):
        return None
    return SensorDecoder(channels, dtype=depth)


def _first_readable(paths: Sequence[str]):
    """The path and the pixels (H, W, C) of the first image that can be read."""
    from densecl.datasets import UnreadableImageError
    from densecl.datasets.sensor import load_bands

    first = None
    for path in paths:
        try:
            return path, load_bands(path, path).pixels
        except UnreadableImageError as error:
            first = first or error
    raise first


def views_of_sensor(values: dict[str, Any]) -> dict[str, Any]:
    """The values of a run's config, with views without colour operators."""
    views = Source(f"[{{**v, 'photometric': photometric}} for v in {values['views']}]")
    return {'photometric': _PHOTOMETRIC} | values | {'views': views}


def read_by_sensor(values: dict[str, Any], sensor: Sensor) -> None:
    """Adapt data set, data preprocessor and backbone of a run's config to such images."""
    values['train_dataloader']['dataset']['decoder'] = sensor.decoder
    model = values['model']
    model['data_preprocessor'] = dict(type='PretrainDataPreprocessor', **sensor.images)
    backbone = model.setdefault('backbone', {})
    name = 'in_chans' if 'Timm' in str(backbone.get('type')) else 'in_channels'
    backbone[name] = sensor.channels
