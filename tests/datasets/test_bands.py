"""Files of other sensors come out as they went in, written by other people's software."""

import io

import cv2
import numpy as np
import pydicom
import pydicom.data
import pytest
import tifffile
from PIL import Image

from densecl.datasets.bands import read_bands
from densecl.datasets.sensor import load_bands


def values(shape, dtype, seed=0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == 'f':
        return rng.normal(size=shape).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def tiff(array, **options) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **{'photometric': 'minisblack', **options})
    return buffer.getvalue()


@pytest.mark.parametrize('dtype', ['uint8', 'uint16', 'float32'])
@pytest.mark.parametrize('channels', [2, 4, 7])
def test_tiff_interleaved_planar_and_in_pages(dtype, channels):
    image = values((20, 30, channels), dtype)
    planes = np.moveaxis(image, 2, 0)
    files = [
        tiff(image, planarconfig='contig'),
        tiff(planes, planarconfig='separate', compression='zlib'),
        tiff(planes),  # a page a channel
        tiff(image, planarconfig='contig', bigtiff=True, tile=(16, 16)),
        tiff(image.astype(image.dtype.newbyteorder('>')), planarconfig='contig', byteorder='>'),
    ]
    assert files[-1][:4] == b'MM\0*' and files[3][:4] == b'II+\0'
    for data in files:
        found = read_bands(data)
        assert found.pixels.dtype == dtype and found.pixels.flags.c_contiguous and found.nodata is None
        np.testing.assert_array_equal(found.pixels, image)


def test_tiff_of_one_channel_and_of_other_types():
    image = values((20, 30), np.uint16)
    np.testing.assert_array_equal(read_bands(tiff(image)).pixels, image[:, :, None])
    for dtype in (np.int16, np.int32, np.float64):
        array = values((20, 30, 2), np.uint16).astype(dtype) - dtype(1000)
        found = read_bands(tiff(array, planarconfig='contig')).pixels
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, array)
    white_is_zero = tiff(image, photometric='miniswhite')
    np.testing.assert_array_equal(read_bands(white_is_zero).pixels[..., 0], 65535 - image)
    bits = image > 30000
    for kind, wanted in (('minisblack', bits), ('miniswhite', ~bits)):
        np.testing.assert_array_equal(read_bands(tiff(bits, photometric=kind)).pixels[..., 0] > 0, wanted)
    with pytest.raises(ValueError, match='complex64, expected whole or real'):
        read_bands(tiff(image.astype(np.complex64)))


def test_tiff_says_its_nodata_and_its_orientation():
    image = values((20, 30, 5), np.uint16)
    tags = [(42113, 's', 0, '-9999', True), (274, 'H', 1, 6, True)]  # lies on its right side
    found = read_bands(tiff(image, planarconfig='contig', extratags=tags))
    assert found.nodata == -9999
    np.testing.assert_array_equal(found.pixels, np.rot90(image, -1))


def test_tiff_with_a_codec_that_is_missing(tmp_path):
    image = values((20, 30, 3), np.uint16)
    assert cv2.imwrite(str(tmp_path / 'a.tif'), image)  # LZW
    try:
        import imagecodecs  # noqa: F401
    except ImportError:
        with pytest.raises(RuntimeError, match='a.tif.*LZW.*pip install imagecodecs'):
            load_bands(str(tmp_path / 'a.tif'), 'a.tif')
    else:
        found = read_bands((tmp_path / 'a.tif').read_bytes()).pixels
        np.testing.assert_array_equal(found, image[..., ::-1])


@pytest.mark.parametrize(
    'shape', [(20, 30), (20, 30, 4), (4, 20, 30), (1, 20, 30), (20, 30, 1), (1, 4, 20, 30)]
)
def test_npy(shape):
    array = values(shape, np.float32)
    buffer = io.BytesIO()
    np.save(buffer, array)
    if len(shape) == 4:
        with pytest.raises(ValueError, match=r'shape \(4, 20, 30\).*no image'):
            read_bands(buffer.getvalue())
        return
    found = read_bands(buffer.getvalue()).pixels
    expected = array if len(shape) == 3 else array[:, :, None]
    expected = np.moveaxis(expected, 0, 2) if expected.shape[1:] == (20, 30) else expected
    np.testing.assert_array_equal(found, expected)


def dicom(**changes) -> bytes:
    dataset = pydicom.dcmread(pydicom.data.get_testdata_file('CT_small.dcm', download=False))
    for name, value in changes.items():
        setattr(dataset, name, value)
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def test_dicom_is_rescaled_to_hounsfield_units():
    raw = pydicom.dcmread(io.BytesIO(dicom())).pixel_array  # slope 1, intercept -1024, padding -2000
    found = read_bands(dicom())
    assert found.pixels.shape == (128, 128, 1) and found.pixels.dtype == np.float32
    np.testing.assert_array_equal(found.pixels[..., 0], raw - 1024.0)
    assert found.nodata == -3024
    scaled = read_bands(dicom(RescaleSlope='0.5', RescaleIntercept='10'))
    np.testing.assert_array_equal(scaled.pixels[..., 0], raw * 0.5 + 10)
    turned = read_bands(dicom(PhotometricInterpretation='MONOCHROME1'))
    np.testing.assert_array_equal(turned.pixels[..., 0], -1.0 - raw - 1024)


def test_dicom_in_colours_and_in_frames():
    def path(name):
        return pydicom.data.get_testdata_file(name, download=False)

    colours = load_bands(path('examples_rgb_color.dcm'), 'rgb').pixels
    np.testing.assert_array_equal(colours, pydicom.dcmread(path('examples_rgb_color.dcm')).pixel_array)
    assert colours.shape == (240, 320, 3) and colours.dtype == np.uint8
    frames = load_bands(path('rtdose.dcm'), 'dose').pixels
    assert frames.shape == (10, 10, 15)
    expected = pydicom.dcmread(path('rtdose.dcm')).pixel_array.astype(np.float32)
    np.testing.assert_array_equal(np.moveaxis(frames, 2, 0), expected)
    with pytest.raises(RuntimeError, match=r'video: ValueError.*\(30, 240, 320, 3\)'):
        load_bands(path('examples_ybr_color.dcm'), 'video')


@pytest.mark.parametrize('channels', [1, 3, 4])
def test_png_keeps_16_bits(channels):
    image = values((20, 30, channels), np.uint16)
    data = cv2.imencode('.png', image)[1].tobytes()
    expected = image if channels == 1 else image[..., [2, 1, 0, 3][:channels]]
    np.testing.assert_array_equal(read_bands(data).pixels, expected)
    with pytest.raises(ValueError, match='cut off or damaged'):
        read_bands(data[:200])


@pytest.mark.parametrize(('mode', 'channels'), [('L', 1), ('LA', 2), ('RGB', 3), ('RGBA', 4)])
def test_8_bit_files_keep_their_channels(mode, channels):
    image = values((20, 30, channels), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if channels == 1 else image, mode).save(buffer, 'PNG')
    np.testing.assert_array_equal(read_bands(buffer.getvalue()).pixels, image)


def test_exif_orientation_is_applied():
    image = Image.fromarray(np.tile(np.arange(0, 240, 8, dtype=np.uint8), (20, 1)))
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    image.save(buffer, 'JPEG', exif=exif, quality=95)
    found = read_bands(buffer.getvalue()).pixels
    assert found.shape == (30, 20, 1) and found[0].mean() < found[-1].mean() - 200


def test_damaged_files_are_named(tmp_path):
    contents = {'empty': b'', 'text': b'hello', 'tiff': tiff(values((20, 30), 'uint8'))[:300]}
    contents |= {'npy': b'\x93NUMPY\x01\x00', 'dicom': dicom()[:2000]}
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(RuntimeError, match=f'cannot read image .*{name}: .+'):
            load_bands(str(tmp_path / name), str(tmp_path / name))
