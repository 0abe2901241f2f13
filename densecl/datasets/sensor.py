"""Reads images with any number of channels and bit depth, for pretraining and for mmdet and mmseg."""

import os
from collections.abc import Sequence

import numpy as np

from densecl.messages import check_choice
from densecl.registry import TRANSFORMS

from .bands import DEPTHS, Bands, max_bytes, read_bands
from .decode import unreadable
from .sources.base import SENSOR_EXTENSIONS
from .unreadable import UnreadableImageError


@TRANSFORMS.register_module()
class SensorDecoder:
    """Reads images of one sensor in their own bit depth: ``PretrainDataset(decoder=dict(type=...))``.

    Args:
        channels: number of channels of an image.
        bands: the file's channels to use, counted from 0, in this order. None: all; there must be
            ``channels`` of them.
        dtype: type of the files' values: ``uint8``, ``uint16`` or ``float32`` (12-bit data are uint16; whole
            numbers of any other type are read as float32). None: any, but the same within a batch.
        nodata: the value that means "not measured". None: the value that a GeoTIFF or DICOM file names. NaN
            and infinity always mean "not measured".
        fill: replacement of values that are not measured, one number or one per channel. None: the mean of
            the image's other pixels in this channel (0 if there are none).

    Attributes:
        extensions: further extensions of images, for folders that this decoder reads.
    """

    extensions = SENSOR_EXTENSIONS

    def __init__(
        self,
        channels: int,
        bands: Sequence[int] | None = None,
        dtype: str | None = None,
        nodata: float | None = None,
        fill: float | Sequence[float] | None = None,
    ) -> None:
        if not isinstance(channels, int) or channels < 1:
            raise ValueError(f'SensorDecoder: channels must be an int of at least 1, got {channels!r}')
        if bands is not None and (len(bands) != channels or min(bands) < 0):
            raise ValueError(
                f'SensorDecoder: bands must name {channels} channels, counted from 0, got {list(bands)}'
            )
        check_choice('SensorDecoder: dtype', dtype, (None, *DEPTHS))
        if fill is not None and np.size(fill) not in (1, channels):
            raise ValueError(f'SensorDecoder: fill must be one number or {channels}, got {fill}')
        self.channels, self.dtype, self.nodata, self.fill = channels, dtype, nodata, fill
        self.bands = None if bands is None else list(bands)
        max_bytes()  # raise here if the setting is no number

    def __call__(self, data: bytes | str | os.PathLike, name: str | None = None) -> np.ndarray:
        """Decode an image.

        Args:
            data: the encoded bytes, or a path.
            name: name of the image for errors; by default the path.

        Returns:
            (H, W, ``channels``), contiguous: uint8, uint16 or float32, finite.

        Raises:
            UnreadableImageError: the file cannot be read, or has other channels or another bit depth.
        """
        pixels, valid = self.read(data, name)
        return pixels if valid is None else self._filled(pixels, valid)

    def read(
        self, data: bytes | str | os.PathLike, name: str | None = None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """The image before ``fill``, and where it is measured: bool (H, W, C), or None for everywhere."""
        name = name or (os.fspath(data) if not isinstance(data, bytes) else f'{len(data)} bytes')
        image = load_bands(data, name)
        pixels = self._chosen(image.pixels, name)
        if self.dtype not in (None, pixels.dtype.name):
            raise UnreadableImageError(
                f'{name} holds {pixels.dtype} values, decoder.dtype={self.dtype!r} was expected: convert the '
                'file, or take images of one depth and set dtype to it',
                'other channels or values',
            )
        nodata = image.nodata if self.nodata is None else self.nodata
        valid = np.ones(pixels.shape, bool) if nodata is None else pixels != nodata
        if pixels.dtype == np.float32:
            valid &= np.isfinite(pixels)
        return pixels, None if valid.all() else valid

    def _chosen(self, pixels: np.ndarray, name: str) -> np.ndarray:
        found = pixels.shape[2]
        if self.bands is not None:
            if max(self.bands) >= found:
                raise UnreadableImageError(
                    f'{name} has {found} channels ({pixels.dtype}), decoder.bands={self.bands} asks for '
                    f'number {max(self.bands)}: set bands to numbers from 0 to {found - 1}',
                    'other channels or values',
                )
            return np.ascontiguousarray(pixels[:, :, self.bands])
        if found != self.channels:
            raise UnreadableImageError(
                f'{name} has {found} channels ({pixels.dtype}), decoder.channels={self.channels} was '
                f'expected: give images of that sensor; or set channels={found}, mean and std of {found} '
                f'values and in_channels={found} of the backbone, or choose some with bands',
                'other channels or values',
            )
        return pixels

    def _filled(self, pixels: np.ndarray, valid: np.ndarray) -> np.ndarray:
        if self.fill is None:
            counts = valid.sum((0, 1))
            fill = np.where(valid, pixels, 0).sum((0, 1), dtype=np.float64) / np.maximum(counts, 1)
        else:
            fill = np.broadcast_to(np.asarray(self.fill, np.float64), pixels.shape[2:])
        if pixels.dtype != np.float32:
            fill = np.rint(fill)
        return np.where(valid, pixels, fill.astype(pixels.dtype))


@TRANSFORMS.register_module()
class LoadSensorImage:
    """``dict(type='densecl.LoadSensorImage', channels=4)`` replaces ``LoadImageFromFile`` in mm pipelines.

    The channels have the file's order, or that of ``bands``. RGB stays RGB, so the data preprocessor must not
    swap channels. Use ``densecl.SensorDataPreprocessor``, with mean and std of the pretraining.

    Args:
        to_float32: convert any image to float32, for transforms that cannot take uint16.
        **decoder: arguments of :class:`SensorDecoder`.
    """

    def __init__(self, to_float32: bool = False, **decoder) -> None:
        self.decoder, self.to_float32 = SensorDecoder(**decoder), to_float32

    def __call__(self, results: dict) -> dict:
        """Read ``img_path``; sets ``img``, (H, W, channels), ``img_shape`` and ``ori_shape``."""
        image = self.decoder(results['img_path'])
        results['img'] = image.astype(np.float32) if self.to_float32 else image
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results


def load_bands(data: bytes | str | os.PathLike, name: str) -> Bands:
    """:func:`read_bands` of bytes or of a file; an UnreadableImageError names an unreadable image."""
    try:
        if not isinstance(data, bytes):
            with open(data, 'rb') as file:
                data = file.read()
        return read_bands(data)
    # On damaged files decoders raise errors of many types.
    except Exception as error:
        raise unreadable(name, error) from error
