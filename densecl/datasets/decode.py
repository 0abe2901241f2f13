"""Decodes images of any mode to upright 8-bit RGB.

Ordinary JPEGs are decoded by OpenCV: 1.6 times as fast as PIL on small photos, and equal bit for bit. All
other images are decoded by PIL, which knows more formats and notices truncated files.
"""

import functools
import io
import logging
import os
import re
from collections.abc import Callable
from typing import Any, BinaryIO

import cv2
import numpy as np
from mmengine.logging import print_log
from PIL import Image, UnidentifiedImageError

from .unreadable import TooLargeError, UnreadableImageError, reason_of

EXIF_ORIENTATION = 0x0112
FORMATS = (
    'JPEG', 'MPO', 'PNG', 'WEBP', 'TIFF', 'GIF', 'BMP', 'DIB', 'PPM', 'JPEG2000', 'AVIF', 'TGA'
)  # fmt: skip
"""What Pillow may take a file for, whatever its name. It knows others, of which some start programs (EPS)."""
MAX_SCANS = 256
"""Of a JPEG, each of which is a pass over all pixels; encoders write up to about a dozen."""
_SCALES = (8, 4, 2, 1)
_SEGMENT = re.compile(rb'\xff[^\x00\x01\xd0-\xd8\xff]')  # markers of segments that have a length
_SCAN, _END_OF_IMAGE = 0xDA, 0xD9


class _NotRGBError(ValueError):
    """The bands of an image cannot become RGB without a loss."""


def decode_image(
    data: bytes | str | os.PathLike, name: str | None = None, high_depth: str = 'range'
) -> np.ndarray:
    """Decode an image of any mode.

    Grey becomes three equal channels. CMYK becomes RGB. Transparent images are put on white. The EXIF
    orientation is applied. From several frames or pages the first is taken. Colour profiles are ignored.

    Args:
        data: the encoded bytes, or a path.
        name: name of the image for errors; by default the path.
        high_depth: how more than 8 bits per channel become 8. ``range``: by the type's range, i.e. 16-bit
            values / 257, and floats either in [0, 1] or in [0, 255]. ``stretch``: each image's own minimum
            becomes 0 and its maximum 255, e.g. for 12-bit microscopy or elevation.

    Returns:
        (H, W, 3) uint8, RGB, contiguous.

    Raises:
        UnreadableImageError: missing, empty, truncated, not an image, too large (179 million pixels), or
            values out of range.
    """
    return decode_scaled(data, None, name, high_depth)[0]


def decode_scaled(
    data: bytes | str | os.PathLike,
    min_side: int | None,
    name: str | None = None,
    high_depth: str = 'range',
) -> tuple[np.ndarray, tuple[int, int]]:
    """Decode an image, a large JPEG at 1/2, 1/4 or 1/8 of its size.

    Args:
        data: the encoded bytes, or a path.
        min_side: ordinary JPEGs are decoded at the smallest of these scales at which the short side still has
            this many pixels. (An option of the JPEG transform, several times faster.) None: full size.
        name: as in :func:`decode_image`.
        high_depth: as in :func:`decode_image`.

    Returns:
        (H, W, 3) uint8 RGB, and the height and width of the upright image at full size.

    Raises:
        UnreadableImageError: as in :func:`decode_image`.
    """
    photo = open_photo(data, name, high_depth)
    if isinstance(photo, np.ndarray):
        return photo, photo.shape[:2]
    height, width = photo.shape[:2]
    return photo.decode(_scale((width, height), min_side)), (height, width)


def open_photo(
    data: bytes | str | os.PathLike,
    name: str | None = None,
    high_depth: str = 'range',
    resolution: float = 1.0,
) -> 'Photo | np.ndarray':
    """Read only the header of an ordinary JPEG; decode any other image.

    Args:
        data: the encoded bytes, or a path.
        name: as in :func:`decode_image`.
        high_depth: as in :func:`decode_image`.
        resolution: see :class:`Photo`.

    Returns:
        A photo, or (H, W, 3) uint8 RGB.

    Raises:
        UnreadableImageError: as in :func:`decode_image`; for a photo, :meth:`Photo.decode` may raise it
            later.
    """
    return _guarded(lambda data, name: _open_photo(data, name, high_depth, resolution), data, name)


class Photo:
    """An ordinary JPEG that is decoded later, when the needed resolution is known.

    Attributes:
        shape: H, W and 3 of the upright image at full size; the type is uint8, the colours are RGB.
        scales: 1, 2, 4 and 8, or fewer: the numbers by which :meth:`decode` can divide the size.
        resolution: smallest number of a crop's pixels per pixel of its view, along each side, for the choice
            of a scale.
        name: name of the image for errors.
    """

    dtype = np.dtype(np.uint8)

    def __init__(
        self, data: bytes, name: str, size: tuple[int, int], orientation: int, resolution: float = 1.0
    ) -> None:
        width, height = size if orientation < 5 else size[::-1]
        self.shape = height, width, 3
        # In a rotated image an incomplete pixel at the end would come first and shift all others.
        self.scales = [s for s in _SCALES if orientation == 1 or width % s == height % s == 0]
        self.resolution, self.name = resolution, name
        self._data, self._size, self._orientation = data, size, orientation

    def decode(self, scale: int = 1) -> np.ndarray:
        """The upright image at 1 / scale, (ceil(H / scale), ceil(W / scale), 3) uint8, contiguous.

        Pixel (y, x) covers rows ``scale * y`` to ``scale * (y + 1)``, and the columns likewise.
        """
        return _guarded(lambda data, _: self._pixels(data, scale), self._data, self.name)

    def _pixels(self, data: bytes, scale: int) -> np.ndarray:
        pixels = _decode_jpeg(data, scale)
        if pixels is None:  # OpenCV failed: PIL reads it, or says what is wrong
            pixels = np.array(open_header(io.BytesIO(data)).convert('RGB'))
            size = [-(-length // scale) for length in pixels.shape[1::-1]]
            pixels = pixels if scale == 1 else cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        if pixels.shape[1::-1] != tuple(-(-length // scale) for length in self._size):
            raise ValueError(f'it says that it is {self._size[0]} x {self._size[1]} pixels, but it is not')
        return upright(pixels, self._orientation)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self.decode(), dtype)


def _guarded(read: Callable[[bytes, str], Any], data: bytes | str | os.PathLike, name: str | None) -> Any:
    """Call ``read(data, name)``; turn any error into one that names the image."""
    if not isinstance(data, bytes):
        name = name or os.fspath(data)
    name = name or f'{len(data)} bytes without a name'
    try:
        if not isinstance(data, bytes):
            with open(data, 'rb') as file:
                data = file.read()
        return read(data, name)
    # On damaged files decoders raise errors of many types: SyntaxError, struct.error, ...
    except Exception as error:
        if isinstance(error, UnidentifiedImageError | _NotRGBError) and (found := _bands_of(data)):
            what = f'cannot read image {name} as RGB: {found}'
            raise UnreadableImageError(what, 'other channels or values') from error
        raise unreadable(name, error) from error


def unreadable(name: str, error: Exception) -> UnreadableImageError:
    """Turn a decoder's error into one that names the image, in one line."""
    text = ' '.join(str(error).split())
    if isinstance(error, UnidentifiedImageError):
        text = f'it is none of {", ".join(FORMATS)}'
    return UnreadableImageError(f'cannot read image {name}: {type(error).__name__}: {text}', reason_of(error))


def _open_photo(data: bytes, name: str, high_depth: str, resolution: float) -> Photo | np.ndarray:
    if not data:
        raise ValueError('the file is empty')
    image = open_header(io.BytesIO(data))
    if image.format == 'TIFF' and image.mode == 'L' and image.tag_v2.get(277) == 2:
        raise _NotRGBError('two bands, of which Pillow reads one')
    if (jpeg := image.format in ('JPEG', 'MPO')) and (scans := _scans(data)) > MAX_SCANS:
        raise TooLargeError(f'a JPEG of {scans} scans, more than {MAX_SCANS}; write it anew')
    plain_jpeg = jpeg and image.mode in ('RGB', 'L')
    # libjpeg fills the missing part of a truncated file with grey; only PIL reports it.
    if plain_jpeg and data.endswith(b'\xff\xd9'):
        return Photo(data, name, image.size, orientation_of(image), resolution)
    try:
        image.load()
    except ValueError as error:
        if image.format != 'TIFF':
            raise
        raise _NotRGBError(str(error)) from error  # a raw mode unknown to Pillow, most likely bands
    orientation = orientation_of(image)  # after load, where PIL applies it to a TIFF
    return upright(_to_rgb(image, high_depth), orientation)


def _bands_of(data: bytes) -> str:
    """Advice for an image of another sensor; empty if no decoder can read it."""
    from .bands import read_bands

    try:
        pixels = read_bands(data).pixels
    except TooLargeError as error:
        return str(error)
    except Exception:  # the first error already says what is wrong
        return ''
    count = pixels.shape[2]
    return (
        f'it has {count} channels ({pixels.dtype}); set '
        f"dataset.decoder=dict(type='SensorDecoder', channels={count}), data_preprocessor's mean and std "
        f"(tools/image_statistics.py prints all three) and the backbone's in_channels={count}"
    )


def open_header(file: str | os.PathLike | BinaryIO) -> Image.Image:
    """Open an image of :data:`FORMATS` with Pillow: read its header, but not its pixels.

    Raises:
        TooLargeError: the header says 179 million pixels or more.
        PIL.UnidentifiedImageError, OSError: no such image, or no such file.
    """
    try:
        return Image.open(file, formats=_known_formats())
    except Image.DecompressionBombError as error:
        raise TooLargeError(f'{error} Cut it into tiles.') from error


def open_map(path: str | os.PathLike, pixels: bool = True) -> Image.Image:
    """Open a label map with Pillow; a palette image has its indices, not its colours.

    Args:
        path: the file.
        pixels: read the pixels now, and not only the header.

    Raises:
        UnreadableImageError: as :func:`decode_image`.
    """
    try:
        image = open_header(path)
        if pixels:
            image.load()
        return image
    except Exception as error:  # a damaged file raises errors of many types
        raise unreadable(os.fspath(path), error) from error


@functools.cache
def _known_formats() -> list[str]:
    """Those of :data:`FORMATS` that the installed Pillow can read."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _scans(data: bytes) -> int:
    """Number of scans of a JPEG's first image; below :data:`MAX_SCANS` it may be an upper bound."""
    words = (np.frombuffer(data, '<u2', (len(data) - first) // 2, first) for first in (0, 1))
    most = sum(int(np.count_nonzero(part == 0xDAFF)) for part in words)
    if most <= MAX_SCANS:
        return most
    # Previews, a video or further images in the file contain these two bytes too, so read the segments.
    scans, place = 0, 2
    while (found := _SEGMENT.search(data, place)) and (kind := found[0][1]) != _END_OF_IMAGE:
        scans += kind == _SCAN
        length = int.from_bytes(data[found.end() : found.end() + 2], 'big')
        place = found.end() + max(length, 2)
    return scans


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 if there is none."""
    try:
        value = image.getexif().get(EXIF_ORIENTATION)
        return value if value in range(1, 9) else 1
    except Exception:  # broken EXIF data; the picture itself may be fine
        return 1


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation, 1..8."""
    if orientation in (5, 6, 7, 8):
        pixels = cv2.transpose(pixels)
    axis = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}.get(orientation)
    return pixels if axis is None else cv2.flip(pixels, axis)


def _scale(size: tuple[int, int], min_side: int | None) -> int:
    """The factor by which a JPEG is made smaller while it is decoded: 1, 2, 4 or 8."""
    if min_side is None:
        return 1
    return next((s for s in _SCALES if min(size) // s >= min_side), 1)


def _decode_jpeg(data: bytes, scale: int) -> np.ndarray | None:
    # OpenCV has flags for the scales of grey and of BGR only; grey is the absence of the colour flag.
    reduced = {
        1: 0,
        2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
        4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
        8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
    }
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION | reduced[scale]
    return cv2.imdecode(np.frombuffer(data, np.uint8), flags)


def _to_rgb(image: Image.Image, high_depth: str) -> np.ndarray:
    if image.mode.startswith('I') or image.mode == 'F':
        grey = _to_8bit(np.asarray(image), high_depth)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert('RGBA')
        white = Image.new('RGBA', image.size, 'white')
        image = Image.alpha_composite(white, image)
    return np.array(image.convert('RGB'))


def _to_8bit(values: np.ndarray, high_depth: str) -> np.ndarray:
    """Convert grey values of more than 8 bits to uint8, see :func:`decode_image`."""
    whole = values.dtype.kind in 'iu'
    values = values.astype(np.float32)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if high_depth != 'stretch':
        low, high = _type_range(low, high, whole)
    scaled = (values - low) * (255 / max(high - low, 1e-30))
    return np.rint(np.nan_to_num(scaled, nan=0, posinf=255, neginf=0)).clip(0, 255).astype(np.uint8)


def _type_range(low: float, high: float, whole: bool) -> tuple[float, float]:
    """The values of black and white in an image with values from ``low`` to ``high``."""
    limit = 65535 if whole else 255
    if low < 0 or high > limit:
        allowed = '0..65535' if whole else '0..1 or 0..255'
        raise ValueError(
            f"values from {low:g} to {high:g}, expected {allowed}; high_depth='stretch' takes any"
        )
    if whole and 255 < high < 4096:
        _warn_dark()
    return 0.0, 1.0 if not whole and high <= 1 else float(limit)


@functools.cache
def _warn_dark() -> None:
    """Warn once per process about dark images; 12-bit data in 16-bit files are common in medicine."""
    print_log(
        'a 16-bit image has values below 4096 only and comes out almost black; '
        "if these are 12-bit data, use high_depth='stretch' (said once)",
        'current',
        logging.WARNING,
    )
