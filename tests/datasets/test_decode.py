"""Every mode an image comes in, against PIL's own conversions."""

import io
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image, ImageOps

import densecl
from densecl.datasets.decode import UnreadableImageError, decode_image, decode_scaled


def photo(height=48, width=64, seed=0):
    """A smooth RGB picture without symmetry."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def encode(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pil(data):
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert('RGB'))


JPEGS = {
    'rgb': {},
    '444': {'subsampling': 0},
    'progressive': {'progressive': True},
    'no colour transform': {'keep_rgb': True},
    'low quality': {'quality': 10},
}


@pytest.mark.parametrize('options', JPEGS.values(), ids=JPEGS)
@pytest.mark.parametrize('size', [(48, 64), (47, 33), (1, 1), (1, 17)])
def test_jpeg_equals_pil(options, size):
    data = encode(photo(*size), 'JPEG', **options)
    image = decode_image(data)
    assert image.dtype == np.uint8 and image.flags.c_contiguous
    np.testing.assert_array_equal(image, pil(data))


@pytest.mark.parametrize('kind', ['PNG', 'BMP', 'TIFF', 'WEBP', 'PPM', 'JPEG2000', 'AVIF', 'TGA'])
def test_formats_equal_pil(kind):
    data = encode(photo(), kind)
    np.testing.assert_array_equal(decode_image(data), pil(data))


@pytest.mark.parametrize('mode', ['L', '1', 'P', 'YCbCr', 'CMYK', 'LAB'])
def test_opaque_modes_equal_pil(mode, tmp_path):
    if (mode, PIL.__version__) == ('YCbCr', '12.3.0'):
        pytest.skip('this Pillow does not read the YCbCr TIFF that it writes')
    kind = 'TIFF' if mode in ('YCbCr', 'CMYK', 'LAB') else 'PNG'
    image = photo().convert(mode) if mode != 'LAB' else Image.new('LAB', (9, 7), (128, 140, 120))
    data = encode(image, kind)
    result = decode_image(data)
    np.testing.assert_array_equal(result, pil(data))
    assert result.shape == (image.height, image.width, 3)


def test_grey_jpeg_equals_pil():
    data = encode(photo().convert('L'), 'JPEG')
    np.testing.assert_array_equal(decode_image(data), pil(data))


def test_cmyk_jpeg_with_adobe_inversion():
    rgb = photo()
    data = encode(rgb.convert('CMYK'), 'JPEG', quality=95)
    assert b'Adobe' in data  # stored inverted: what is not noticed comes out as a negative
    result = decode_image(data).astype(int)
    np.testing.assert_array_equal(result, pil(data))
    assert np.abs(result - np.asarray(rgb, dtype=int)).mean() < 6


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'TIFF', 'WEBP', 'grey JPEG', 'CMYK JPEG'])
def test_every_exif_orientation(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    mode = {'grey JPEG': 'L', 'CMYK JPEG': 'CMYK'}.get(kind, 'RGB')
    options = {'lossless': True} if kind == 'WEBP' else {}
    data = encode(photo(20, 30).convert(mode), kind.split()[-1], exif=exif, **options)
    image, size = decode_scaled(data, None)
    np.testing.assert_array_equal(image, pil(data))
    assert image.shape[:2] == size == ((20, 30) if orientation < 5 else (30, 20))


@pytest.mark.parametrize('value', [0, 9, 77])
def test_senseless_orientation_is_ignored(value):
    exif = Image.Exif()
    exif[0x0112] = value
    data = encode(photo(), 'JPEG', exif=exif)
    np.testing.assert_array_equal(decode_image(data), pil(encode(photo(), 'JPEG')))


def test_broken_exif_is_ignored():
    data = encode(photo(), 'JPEG', exif=b'Exif\0\0MM\0*\xff\xff\xff\xff')
    np.testing.assert_array_equal(decode_image(data), pil(encode(photo(), 'JPEG')))


def over_white(rgba):
    rgba = np.asarray(rgba, dtype=np.float64)
    alpha = rgba[..., 3:] / 255
    return rgba[..., :3] * alpha + 255 * (1 - alpha)


@pytest.mark.parametrize('mode', ['RGBA', 'LA', 'P', 'PA'])
def test_transparency_is_laid_over_white(mode):
    alpha = Image.fromarray(np.tile(np.linspace(0, 255, 64, dtype=np.uint8), (48, 1)))
    rgba = photo().convert('RGBA')
    rgba.putalpha(alpha)
    image = {
        'RGBA': lambda: rgba,
        'LA': lambda: rgba.convert('LA'),
        'P': lambda: rgba.quantize(32),
        'PA': lambda: rgba.convert('PA'),
    }[mode]()
    data = encode(image, 'TIFF' if mode == 'PA' else 'PNG')
    expected = over_white(Image.open(io.BytesIO(data)).convert('RGBA'))
    assert np.abs(decode_image(data) - expected).max() <= 1


@pytest.mark.parametrize('mode', ['L', 'RGB', 'P'])
def test_transparent_colour_of_png(mode):
    image = Image.new('RGB', (4, 4), (10, 10, 10)).convert(mode)
    image.putpixel((1, 1), (200, 200, 200) if mode == 'RGB' else 200)
    key = {'L': 10, 'RGB': (10, 10, 10), 'P': image.getpixel((0, 0))}[mode]
    result = decode_image(encode(image, 'PNG', transparency=key))
    assert (result[0, 0] == 255).all() and result[1, 1].min() < 255


@pytest.mark.parametrize('kind', ['PNG', 'TIFF', 'PPM'])
def test_sixteen_bits_use_the_whole_range(kind):
    values = np.linspace(0, 65535, 48 * 64).reshape(48, 64).astype(np.uint16)
    result = decode_image(encode(Image.fromarray(values), kind))
    np.testing.assert_array_equal(result, np.rint(values / 257).astype(np.uint8)[..., None].repeat(3, 2))


def test_big_endian_sixteen_bits():
    values = np.linspace(0, 65535, 12).reshape(3, 4).astype('>u2')
    data = encode(Image.frombytes('I;16B', (4, 3), values.tobytes()), 'TIFF')
    np.testing.assert_array_equal(decode_image(data)[..., 0], np.rint(values / 257))


def test_twelve_bit_values_are_named_and_can_be_stretched(monkeypatch):
    said = []
    decode_image.__globals__['_warn_dark'].cache_clear()
    monkeypatch.setitem(decode_image.__globals__, 'print_log', lambda text, *_: said.append(text))
    values = np.linspace(100, 4095, 48 * 64).reshape(48, 64).astype(np.uint16)
    data = encode(Image.fromarray(values), 'PNG')
    assert decode_image(data).max() == 16
    decode_image(data)
    assert len(said) == 1 and "high_depth='stretch'" in said[0]
    expected = np.rint((values - 100.0) / 3995 * 255)
    assert np.abs(decode_image(data, high_depth='stretch')[..., 1] - expected).max() <= 1


@pytest.mark.parametrize('top', [1.0, 255.0])
def test_float_tiff(top):
    values = np.linspace(0, top, 48 * 64, dtype=np.float32).reshape(48, 64)
    values[0, 0] = np.nan
    result = decode_image(encode(Image.fromarray(values), 'TIFF'))
    expected = np.rint(np.nan_to_num(values) * 255 / top)
    assert np.abs(result[..., 2] - expected).max() <= 1


def test_floats_out_of_range():
    values = np.linspace(-400, 8848, 48 * 64, dtype=np.float32).reshape(48, 64)
    data = encode(Image.fromarray(values), 'TIFF')
    with pytest.raises(UnreadableImageError, match="height.tif.*-400 to 8848.*high_depth='stretch'"):
        decode_image(data, 'height.tif')
    result = decode_image(data, high_depth='stretch')
    assert result.min() == 0 and result.max() == 255


def test_constant_image_can_be_stretched():
    data = encode(Image.fromarray(np.full((3, 4), 700, np.uint16)), 'PNG')
    assert (decode_image(data, high_depth='stretch') == 0).all()


@pytest.mark.parametrize('kind', ['GIF', 'TIFF', 'WEBP', 'MPO', 'PNG'])
def test_first_of_several_frames(kind):
    options = {'lossless': True} if kind == 'WEBP' else {}
    frames = [photo(seed=1), photo(seed=2)]
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert Image.open(io.BytesIO(data)).n_frames == 2
    np.testing.assert_array_equal(decode_image(data), pil(data))


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'TIFF', 'BMP', 'GIF', 'WEBP'])
@pytest.mark.parametrize('left', [0, 1, 10, 0.5, 0.9])
def test_truncated_file_is_named(kind, left, tmp_path):
    data = encode(photo(200, 300), kind)
    path = tmp_path / f'broken.{kind.lower()}'
    path.write_bytes(data[: left if isinstance(left, int) else int(len(data) * left)])
    with pytest.raises(UnreadableImageError, match=f'broken.{kind.lower()}'):
        decode_image(path)


def test_truncated_jpeg_with_a_complete_thumbnail():
    thumbnail = encode(photo(16, 16), 'JPEG')
    data = encode(photo(200, 300), 'JPEG')
    comment = b'\xff\xfe' + (len(thumbnail) + 2).to_bytes(2, 'big') + thumbnail
    data = data[:2] + comment + data[2:]
    assert decode_image(data).shape == (200, 300, 3)
    with pytest.raises(UnreadableImageError, match='truncated'):
        decode_image(data[:-500])


def test_bytes_after_the_end_are_fine():
    data = encode(photo(), 'JPEG')
    np.testing.assert_array_equal(decode_image(data + b'\0' * 37 + b'trailer'), pil(data))


def test_not_an_image_and_not_there(tmp_path):
    (tmp_path / 'text.jpg').write_text('not an image')
    with pytest.raises(UnreadableImageError, match=r'text\.jpg.*it is none of JPEG'):
        decode_image(tmp_path / 'text.jpg')
    with pytest.raises(UnreadableImageError, match=r'gone\.jpg.*No such file'):
        decode_image(tmp_path / 'gone.jpg')
    with pytest.raises(UnreadableImageError, match=r'tmp|Is a directory'):
        decode_image(tmp_path)


def test_decompression_bomb(monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 1000)
    with pytest.raises(UnreadableImageError, match=r'bomb\.png.*3072 pixels.*tiles'):
        decode_image(encode(photo(), 'PNG'), 'bomb.png')


def test_error_survives_pickling():
    import pickle

    error = pickle.loads(pickle.dumps(UnreadableImageError('cannot read image a.jpg: why')))
    assert str(error) == 'cannot read image a.jpg: why'


@pytest.mark.parametrize(
    ('min_side', 'shape'),
    [(None, (600, 803)), (601, (600, 803)), (300, (300, 402)), (299, (300, 402))]
    + [(150, (150, 201)), (75, (75, 101)), (10, (75, 101))],
)
def test_reduced_decoding(min_side, shape):
    data = encode(photo(600, 803), 'JPEG', quality=95)
    image, size = decode_scaled(data, min_side)
    assert image.shape[:2] == shape and size == (600, 803)
    full = Image.fromarray(pil(data)).resize(shape[::-1], Image.Resampling.BOX)
    assert np.abs(image.astype(int) - np.asarray(full)).mean() < 2


def test_reduced_decoding_keeps_orientation():
    exif = Image.Exif()
    exif[0x0112] = 6
    image, size = decode_scaled(encode(photo(600, 800), 'JPEG', exif=exif), 200)
    assert image.shape == (400, 300, 3) and size == (800, 600)


def test_other_formats_are_not_reduced():
    image, size = decode_scaled(encode(photo(600, 800), 'PNG'), 100)
    assert image.shape[:2] == size == (600, 800)


def test_real_photos_equal_pil():
    photos = sorted(Path(densecl.__file__).with_name('sample').rglob('*.jpg'))[::10]
    assert len(photos) >= 10
    for path in photos:
        np.testing.assert_array_equal(decode_image(path), pil(path.read_bytes()), str(path))
