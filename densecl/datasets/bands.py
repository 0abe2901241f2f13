"""Reads files of any sensor as arrays (H, W, C) in the file's bit depth: TIFF, npy, DICOM, PNG, JPEG, ..."""

import importlib
import io
import lzma
import math
import os
import zlib
from types import ModuleType
from typing import NamedTuple

import cv2
import numpy as np

from densecl.inputs import npy_from_bytes

from .decode import open_header, orientation_of, upright
from .unreadable import TooLargeError

GDAL_NODATA = 42113  # the tag of GeoTIFF
LIMIT = 'DENSECL_MAX_IMAGE_BYTES'
"""Environment variable: the most that one image may take of memory, in bytes; 2 GiB where it is not set."""
DEPTHS = ('uint8', 'uint16', 'float32')
_PALETTES = {'P': 'RGB', 'PA': 'RGBA', '1': 'L', 'CMYK': 'RGB', 'YCbCr': 'RGB', 'LAB': 'RGB', 'HSV': 'RGB'}
_PNG_GREY_ALPHA = 4
_DEFLATED_DICOM = b'1.2.840.10008.1.2.1.99'
_DEFLATE = 1032  # largest number of bytes that one deflated byte can become
_LZMA = 7100  # 273 bytes are at least 14 decisions of log2(2048 / 2017) bits
_INFLATE = {
    8: (zlib.decompressobj, _DEFLATE),
    32946: (zlib.decompressobj, _DEFLATE),
    34925: (lzma.LZMADecompressor, _LZMA),
}


class Bands(NamedTuple):
    """An image with its file's values.

    Attributes:
        pixels: (H, W, C), contiguous; uint8 or uint16, all other types as float32.
        nodata: the value that means "nothing measured here", if the file names one.
    """

    pixels: np.ndarray
    nodata: float | None = None


def max_bytes() -> int:
    """Largest memory in bytes for one image with all channels of its file, see :data:`LIMIT`.

    Raises:
        ValueError: the variable is no number of bytes.
    """
    text = os.environ.get(LIMIT) or '2147483648'
    try:
        found = int(float(text))
    except (ValueError, OverflowError):
        found = 0
    if found < 1:
        raise ValueError(
            f'the environment variable {LIMIT} must be a number of bytes, 8e9 for example, got {text!r}'
        )
    return found


def read_bands(data: bytes) -> Bands:
    """Read an image in its own bit depth and with its own channels.

    The first bytes of the file tell its type. From a TIFF the first series is read; planes and pages are
    channels, as interleaved samples are. In a three-dimensional npy the channels are the first or the last
    axis, whichever is shorter. DICOM is rescaled by slope and intercept or by its modality table; MONOCHROME1
    becomes MONOCHROME2. The orientation of TIFF and EXIF is applied. Palettes and CMYK become RGB.

    Args:
        data: the encoded bytes.

    Raises:
        ImportError: the package for this kind of file is missing.
        TooLargeError: the image needs more than :func:`max_bytes`, in the file's type or in that of
            ``Bands.pixels``. This is known before the memory is taken.
        ValueError: the array is no image, or its numbers are complex.
        Exception: any error of a decoder on a damaged file.
    """
    if not data:
        raise ValueError('the file is empty')
    if data[128:132] == b'DICM':  # checked first, as such a file may also begin like a TIFF
        return _dicom(data)
    if data[:4] in (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+'):
        return _tiff(data)
    if data[:6] == b'\x93NUMPY':
        array = npy_from_bytes(data)
        _check_size(array.shape, array.dtype)
        return Bands(_plain(_hwc(array, _axes_of(array.shape))))
    return Bands(_raster(data))


def _tiff(data: bytes) -> Bands:
    with _package('tifffile', 'TIFF').TiffFile(io.BytesIO(data)) as file:
        if not file.series:
            raise ValueError('there is no image in it; the file may be cut off')
        series = file.series[0]
        page = series.keyframe
        _check_size(series.shape, series.dtype)
        _check_segments(data, series)
        try:
            array = series.asarray()
        except Exception as error:  # a missing codec raises one of several types
            if 'imagecodecs' not in str(error):
                raise
            raise ImportError(f'{page.compression!r} needs codecs: pip install imagecodecs') from error
        tags = page.tags
        if page.photometric == 3:
            raise ValueError('its values are numbers of a palette; store the colours themselves')
        if page.photometric == 0 and array.dtype.kind in 'ub':  # 0 means white
            array = ~array if array.dtype.kind == 'b' else array.dtype.type(2**page.bitspersample - 1) - array
        pixels = _plain(_hwc(array, series.axes))
        if (orientation := tags.valueof(274, 1)) in range(2, 9):
            planes = map(np.ascontiguousarray, np.moveaxis(pixels, 2, 0))
            pixels = np.stack([upright(plane, int(orientation)) for plane in planes], 2)
        nodata = tags.valueof(GDAL_NODATA)
    return Bands(pixels, None if nodata is None else float(str(nodata).strip('\0 ')))


def _dicom(data: bytes) -> Bands:
    pydicom = _package('pydicom', 'DICOM')
    if _DEFLATED_DICOM in data[:4096] and len(data) * _DEFLATE > max_bytes():
        raise TooLargeError(
            'DICOM data that are deflated as a whole may become of any size; write them plain'
        )
    dataset = pydicom.dcmread(io.BytesIO(data))
    sides = (dataset.Rows, dataset.Columns, dataset.SamplesPerPixel, dataset.get('NumberOfFrames') or 1)
    _check_size([int(side) for side in sides], np.dtype('u2'))
    array, padding = dataset.pixel_array, dataset.get('PixelPaddingValue')
    values = [array] if padding is None else [array, np.array([padding]).astype(array.dtype)]
    if dataset.PhotometricInterpretation == 'MONOCHROME1':
        top = -1 if array.dtype.kind == 'i' else 2**dataset.BitsStored - 1
        values = [(top - v.astype(np.int64)).astype(array.dtype) for v in values]
    linear = float(dataset.get('RescaleSlope') or 1), float(dataset.get('RescaleIntercept') or 0)
    if linear != (1.0, 0.0) or 'ModalityLUTSequence' in dataset:
        values = [pydicom.pixels.apply_modality_lut(v, dataset) for v in values]
    axes = 'YX' if int(dataset.get('NumberOfFrames') or 1) == 1 else 'CYX'
    axes += 'S' if int(dataset.SamplesPerPixel) > 1 else ''
    return Bands(_plain(_hwc(values[0], axes)), float(values[1][0]) if padding is not None else None)


def _raster(data: bytes) -> np.ndarray:
    """Read PNG, JPEG and all other formats of Pillow; 16-bit PNGs with OpenCV, as Pillow keeps 8 bits."""
    if data[:8] == b'\x89PNG\r\n\x1a\n' and data[24] == 16:
        _check_size((*np.frombuffer(data, '>u4', 2, 16), 4), np.dtype('u2'))
        _check_chunks(data)
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        if pixels is None:
            raise ValueError('the PNG is cut off or damaged')
        pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels[:, :, [2, 1, 0, 3][: pixels.shape[2]]]
        return np.ascontiguousarray(pixels[:, :, [0, 3]] if data[25] == _PNG_GREY_ALPHA else pixels)
    image = open_header(io.BytesIO(data))
    image.load()
    orientation = orientation_of(image)
    if image.mode in _PALETTES:
        image = image.convert(_PALETTES[image.mode])
    pixels = upright(np.array(image), orientation)
    return _plain(_hwc(pixels, 'YXC'[: pixels.ndim]))


def _check_size(shape, dtype: np.dtype) -> None:
    limit = max_bytes()
    size = math.prod(int(side) for side in shape) * max(dtype.itemsize, _depth_of(dtype).itemsize)
    if size > limit:
        sides = ' x '.join(str(int(side)) for side in shape)
        raise TooLargeError(
            f'{sides} values are {size / 2**30:.1f} GiB in memory, more than {limit / 2**30:.3g}; '
            f'cut it into tiles, or set the environment variable {LIMIT} to {size} or more'
        )


def _check_chunks(data: bytes) -> None:
    """Refuse a PNG with a chunk that is longer than the file; OpenCV would allocate memory for it."""
    place, name = 8, b''
    while name != b'IEND':
        length, name = int.from_bytes(data[place : place + 4], 'big'), data[place + 4 : place + 8]
        place += 12 + length
        if place > len(data):
            raise ValueError('the PNG is cut off or damaged')


def _check_segments(data: bytes, series) -> None:
    """Refuse a TIFF whose strips and tiles are outside the file, or have more data than the image."""
    most, limit = math.prod(series.shape) * series.dtype.itemsize + 2**20, max_bytes()
    for page in filter(None, series.pages):
        inflate, ratio = _INFLATE.get(int(page.compression), (None, 0))
        if len(page.dataoffsets) < math.prod(page.chunked):  # tifffile would fill the rest with zeros
            raise ValueError('the TIFF is cut off or damaged: its list of strips or tiles is too short')
        for start, count in zip(page.dataoffsets, page.databytecounts, strict=False):
            if start + count > len(data):
                raise ValueError('the TIFF is cut off or damaged')
            if count * ratio > limit:
                unpack = inflate()
                unpack.decompress(data[start : start + count], most)
                if not unpack.eof:
                    raise TooLargeError('a compressed part of it holds more than the image, or is cut off')


def _axes_of(shape: tuple[int, ...]) -> str:
    """Guess the names of an array's axes from their lengths."""
    if len(shape) == 3:
        return 'CYX' if shape[0] < shape[2] else 'YXC'
    return 'YX' if len(shape) == 2 else '?' * len(shape)


def _hwc(array: np.ndarray, axes: str) -> np.ndarray:
    """An array with Y, X and at most one more axis as (H, W, C)."""
    for axis in range(array.ndim - 1, -1, -1):
        if axes[axis] not in 'YX' and array.shape[axis] == 1 and array.ndim > 2:
            array, axes = array.squeeze(axis), axes[:axis] + axes[axis + 1 :]
    if array.ndim not in (2, 3) or not {'Y', 'X'} <= set(axes) or array.size == 0:
        raise ValueError(
            f'an array of shape {array.shape} (axes {axes}) is no image; expected height, width and at most '
            'one axis of channels'
        )
    if array.ndim == 2:
        return array[:, :, None]
    channel = next(i for i, axis in enumerate(axes) if axis not in 'YX')
    return np.moveaxis(array, channel, 2)


def _plain(pixels: np.ndarray) -> np.ndarray:
    """Contiguous uint8 or uint16, any other numbers as float32."""
    if pixels.dtype.kind not in 'buif':
        raise ValueError(f'its values are {pixels.dtype}, expected whole or real numbers')
    return np.ascontiguousarray(pixels, dtype=_depth_of(pixels.dtype))


def _depth_of(dtype: np.dtype) -> np.dtype:
    """The type in which the numbers of a file are stored in memory."""
    if dtype.kind == 'b':
        return np.dtype(np.uint8)
    return dtype.newbyteorder('=') if dtype.name in DEPTHS else np.dtype(np.float32)


def _package(name: str, kind: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"{kind} needs {name}: pip install 'densecl[sensors]'") from error
