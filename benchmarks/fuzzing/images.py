"""Images: photos, other sensors, label maps."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from densecl.datasets.bands import DEPTHS, max_bytes
from densecl.datasets.decode import Photo, open_map, open_photo
from densecl.datasets.sensor import load_bands

from .trial import require

NAMES = ('a.jpg', 'sub/b.jpg', 'c.jpg')
SIZE = (30, 40)


def picture(mode: str = 'RGB', size: tuple[int, int] = SIZE) -> Image.Image:
    """A smooth picture without symmetry."""
    small = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    return Image.fromarray(small).resize(size[::-1], Image.Resampling.BICUBIC).convert(mode)


def encoded(kind: str, mode: str = 'RGB', **options) -> bytes:
    """A picture in a format of Pillow."""
    file = io.BytesIO()
    picture(mode).save(file, kind, **options)
    return file.getvalue()


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def image_seeds() -> dict[str, bytes]:
    """Images of every format and mode that is read."""

    def several(kind: str) -> bytes:  # Pillow leaves its settings on the pictures that it appends
        return encoded(kind, save_all=True, append_images=[picture().rotate(180)])

    seeds = {
        'jpeg': encoded('JPEG'),
        'jpeg progressive': encoded('JPEG', progressive=True),
        'jpeg 444': encoded('JPEG', subsampling=0),
        'jpeg restarts': encoded('JPEG', restart_marker_rows=1),
        'jpeg grey': encoded('JPEG', 'L'),
        'jpeg cmyk': encoded('JPEG', 'CMYK'),
        'jpeg turned': encoded('JPEG', exif=_exif(6)),
        'mpo': several('MPO'),
        'png': encoded('PNG'),
        'png palette': encoded('PNG', 'P'),
        'png alpha': encoded('PNG', 'LA'),
        'png 1 bit': encoded('PNG', '1'),
        'png animated': several('PNG'),
        'gif': encoded('GIF'),
        'gif animated': several('GIF'),
        'webp': encoded('WEBP'),
        'webp lossless': encoded('WEBP', 'RGBA', lossless=True),
        'webp animated': several('WEBP'),
        'bmp': encoded('BMP'),
        'bmp palette': encoded('BMP', 'P'),
        'tiff': encoded('TIFF'),
        'tiff deflate': encoded('TIFF', compression='tiff_deflate'),
        'tiff lzw': encoded('TIFF', compression='tiff_lzw'),
        'tiff jpeg': encoded('TIFF', compression='jpeg'),
        'tiff pages': several('TIFF'),
        'ppm': encoded('PPM'),
        'jpeg2000': encoded('JPEG2000'),
        'tga': encoded('TGA'),
        'avif': encoded('AVIF'),
    }
    grey = np.asarray(picture('L')).astype(np.uint16) * 257
    for kind in ('PNG', 'TIFF'):
        file = io.BytesIO()
        Image.fromarray(grey).save(file, kind)
        seeds[f'{kind.lower()} 16 bit'] = file.getvalue()
    return seeds


def band_seeds() -> dict[str, bytes]:
    """Images of other sensors."""
    import pydicom
    import tifffile
    from pydicom.dataset import FileDataset, FileMetaDataset

    values = np.random.default_rng(0).integers(0, 4096, (*SIZE, 5)).astype(np.uint16)
    seeds = {}
    for name, array in (('npy', values), ('npy float', values.astype('f4').transpose(2, 0, 1))):
        file = io.BytesIO()
        np.save(file, array)
        seeds[name] = file.getvalue()
    for name, options in (
        ('geotiff', {}), ('geotiff deflate', dict(compression='deflate')), ('bigtiff', dict(bigtiff=True)),
        ('geotiff tiles', dict(tile=(16, 16))), ('geotiff lzma', dict(compression='lzma')),
    ):  # fmt: skip
        file = io.BytesIO()
        tifffile.imwrite(file, values, photometric='minisblack', planarconfig='contig', **options)
        seeds[name] = file.getvalue()
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = meta.MediaStorageSOPInstanceUID = '1.2.3'
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dicom = FileDataset('', {}, file_meta=meta, preamble=bytes(128))
    dicom.Rows, dicom.Columns, dicom.SamplesPerPixel, dicom.PhotometricInterpretation = (
        *SIZE,
        1,
        'MONOCHROME2',
    )
    dicom.BitsAllocated, dicom.BitsStored, dicom.HighBit, dicom.PixelRepresentation = 16, 12, 11, 0
    dicom.PixelData = values[:, :, 0].tobytes()
    file = io.BytesIO()
    dicom.save_as(file, enforce_file_format=True)
    return seeds | {'dicom': file.getvalue(), 'png 16 bit': image_seeds()['png 16 bit']}


def read_image(path: Path) -> np.ndarray:
    """The pixels; of a photo also at a quarter of its size."""
    image = open_photo(str(path))
    if isinstance(image, Photo):
        quarter, (height, width, _) = image.decode(image.scales[-1]), image.shape
        scale = image.scales[-1]
        require(quarter.shape == (-(-height // scale), -(-width // scale), 3), 'a photo of another size')
        shape, image = image.shape, image.decode()
        require(image.shape == shape, 'a photo of another size than its header says')
    require(
        image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3, f'{image.dtype} {image.shape}'
    )
    require(image.size > 0 and image.flags.c_contiguous, f'an image of {image.shape}')
    return image


def read_bands(path: Path) -> np.ndarray:
    """The pixels in their depth."""
    pixels = load_bands(str(path), str(path)).pixels
    require(
        pixels.dtype.name in DEPTHS and pixels.ndim == 3 and pixels.size > 0, f'{pixels.dtype} {pixels.shape}'
    )
    require(pixels.nbytes <= max_bytes(), f'{pixels.nbytes} bytes')
    return pixels


def read_label_map(path: Path) -> np.ndarray:
    """A label map."""
    with open_map(path) as image:
        return np.asarray(image)
