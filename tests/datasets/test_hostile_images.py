"""Files that are no ordinary image: the right pixels, or one line that names the file and the reason."""

import io
import lzma
import os
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from densecl.datasets import PretrainDataset, UnreadableImageError, decode_image
from densecl.datasets.bands import _INFLATE, LIMIT, read_bands
from densecl.datasets.decode import MAX_SCANS, decode_scaled
from densecl.datasets.unreadable import TooLargeError

KINDS = ('JPEG', 'PNG', 'WEBP', 'GIF', 'TIFF', 'BMP')
VIEWS = [dict(type='MultiView', views=[dict(count=2, size=32, scale=(0.2, 1.0), flip=0.5)])]


def picture(width=40, height=30, mode='RGB'):
    small = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def encoded(kind, image=None, **options):
    file = io.BytesIO()
    (image or picture()).save(file, kind, **options)
    return file.getvalue()


def refused(data, reason, text=''):
    with pytest.raises(UnreadableImageError, match='cannot read image x.jpg') as caught:
        decode_image(data, 'x.jpg')
    said = str(caught.value)
    assert caught.value.reason == reason and '\n' not in said and text in said, said


@pytest.mark.parametrize('kind', KINDS)
def test_a_name_of_another_format_does_not_matter(kind, tmp_path):
    path = tmp_path / ('a.png' if kind == 'JPEG' else 'a.jpg')
    path.write_bytes(encoded(kind))
    expected = np.asarray(Image.open(io.BytesIO(encoded(kind))).convert('RGB'))
    np.testing.assert_array_equal(decode_image(path), expected)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('share', [0.3, 0.6, 0.95])
def test_every_truncated_file_is_refused(kind, share):
    data = encoded(kind)
    with pytest.raises(UnreadableImageError) as caught:
        decode_image(data[: int(len(data) * share)], 'x')
    assert caught.value.reason in ('truncated', 'damaged', 'not an image')
    refused(b'', 'empty')


@pytest.mark.parametrize(('width', 'height'), [(1, 1), (20000, 3), (3, 20000)])
@pytest.mark.parametrize('kind', KINDS)
def test_extreme_shapes_give_views(kind, width, height, tmp_path):
    if kind == 'WEBP':
        width, height = min(width, 16383), min(height, 16383)  # the format's own limit
    (tmp_path / 'a.jpg').write_bytes(encoded(kind, picture(width, height)))
    for resolution in (1.0, 0.5, None):
        sample = PretrainDataset(tmp_path, pipeline=VIEWS, decode_resolution=resolution)[0]
        assert [view.shape for view in sample.images] == [(32, 32, 3)] * 2
        assert sample.source_size == (height, width)
        x1, y1, x2, y2 = sample.boxes.T
        assert (x1 >= 0).all() and (x1 < x2).all() and (x2 <= width).all()
        assert (y1 >= 0).all() and (y1 < y2).all() and (y2 <= height).all()


def png(width, height, depth=8, colour=2, data=b''):
    def chunk(name, content):
        return (
            struct.pack('>I', len(content)) + name + content + struct.pack('>I', zlib.crc32(name + content))
        )

    head = chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, depth, colour, 0, 0, 0))
    return b'\x89PNG\r\n\x1a\n' + head + chunk(b'IDAT', zlib.compress(data)) + chunk(b'IEND', b'')


def with_size(data, kind):
    """The file with a header that says 60,000 x 60,000 pixels."""
    data, size = bytearray(data), 60000
    if kind == 'JPEG':
        place = data.index(b'\xff\xc0') + 5
        data[place : place + 4] = struct.pack('>HH', size, size)
    elif kind == 'BMP':
        data[18:26] = struct.pack('<II', size, size)
    elif kind == 'GIF':
        data[6:10] = struct.pack('<HH', size, size)
    else:
        for tag in (256, 257):
            place = data.index(struct.pack('<HHI', tag, 4, 1)) + 8
            data[place : place + 4] = struct.pack('<I', size)
    return bytes(data)


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'BMP', 'GIF', 'TIFF'])
def test_sizes_are_bounded_before_memory_is_taken(kind):
    bomb = png(60000, 60000) if kind == 'PNG' else with_size(encoded(kind), kind)
    refused(bomb, 'too large', '3600000000 pixels')


def test_sensor_files_are_bounded_too():
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, dict(descr='<u2', fortran_order=False, shape=(10**6, 10**6)))
    with pytest.raises(ValueError, match=r'npy file of shape \(1000000, 1000000\).*cut off'):
        read_bands(head.getvalue())
    with pytest.raises(ValueError, match='Python objects, which could run code'):
        file = io.BytesIO()
        np.save(file, np.array([print], object), allow_pickle=True)
        read_bands(file.getvalue())
    with pytest.raises(TooLargeError, match='60000 x 60000'):
        read_bands(png(60000, 60000, depth=16, colour=0))
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((8, 8, 4), np.uint8), photometric='minisblack')
    data = bytearray(file.getvalue())
    for tag in (256, 257):
        place = next(i for code in (3, 4) if (i := data.find(struct.pack('<HHI', tag, code, 1))) >= 0)
        data[place : place + 12] = struct.pack('<HHII', tag, 4, 1, 10**6)
    with pytest.raises(TooLargeError, match='cut it into tiles'):
        read_bands(bytes(data))


@pytest.mark.parametrize(('kind', 'compress'), [('deflate', zlib.compress), ('lzma', lzma.compress)])
def test_a_strip_that_inflates_to_more_than_the_image(kind, compress, monkeypatch):
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((64, 64), np.uint8), compression=kind)
    data = bytearray(file.getvalue())
    bomb = compress(bytes(2**22))
    for tag, value in ((273, len(data)), (279, len(bomb))):
        place = next(i for code in (3, 4) if (i := data.find(struct.pack('<HHI', tag, code, 1))) >= 0)
        data[place : place + 12] = struct.pack('<HHII', tag, 4, 1, value)
    monkeypatch.setenv(LIMIT, str(2**20))
    with pytest.raises(TooLargeError, match='holds more than the image'):
        read_bands(bytes(data) + bomb)


def test_no_part_of_a_tiff_becomes_larger_than_is_reckoned():
    """Those that cannot exceed the bound are not inflated twice."""
    for unpack, most in _INFLATE.values():
        pack = lzma.compress if unpack is lzma.LZMADecompressor else zlib.compress
        data = pack(bytes(2**26))
        assert most / 1.1 < 2**26 / len(data) < most


@pytest.mark.parametrize('tile', [None, (16, 16)])
def test_a_tiff_that_lists_fewer_parts_than_it_has_is_no_picture_of_zeros(tile):
    file = io.BytesIO()
    tifffile.imwrite(file, np.ones((32, 32), np.uint8), tile=tile, rowsperstrip=None if tile else 16)
    assert read_bands(file.getvalue()).pixels.all()
    data = bytearray(file.getvalue())
    place = next(i for code in (3, 4) if (i := data.find(struct.pack('<HHI', 257, code, 1))) >= 0)
    data[place : place + 12] = struct.pack('<HHII', 257, 4, 1, 1024)
    with pytest.raises(ValueError, match='strips or tiles is too short'):
        read_bands(bytes(data))


def test_a_jpeg_of_endless_scans():
    data = encoded('JPEG', progressive=True)
    last = data.rindex(b'\xff\xda')
    refused(data[:last] + data[last:-2] * (MAX_SCANS + 5) + b'\xff\xd9', 'too large', 'scans')
    assert decode_image(data).shape == (30, 40, 3)


@pytest.mark.parametrize('end', [b'', b'\xff\xd9'])
def test_scans_are_those_of_the_first_image(end):
    """A motion photo: bytes of a video behind the picture, which by chance look like scans."""
    for options in ({}, dict(progressive=True), dict(restart_marker_rows=1, comment=b'\xff\xda' * 400)):
        data = encoded('JPEG', **options)
        tail = b'ftyp' + b'\xff\xda\0\1' * (MAX_SCANS + 5) + end
        np.testing.assert_array_equal(decode_image(data + tail), decode_image(data))


def test_no_program_is_started(tmp_path, monkeypatch):
    """Pillow hands PostScript to Ghostscript, whatever the file's name is."""
    script = tmp_path / 'gs'
    script.write_text(f'#!/bin/sh\ntouch {tmp_path}/ran\n')
    script.chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
    eps = b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n'
    refused(eps, 'not an image', 'it is none of JPEG')
    assert not (tmp_path / 'ran').exists()


def test_a_jpeg_whose_data_are_of_another_size():
    data = encoded('JPEG')
    place = data.index(b'\xff\xc0')
    thumbnail = b'\xff\xe5\x00\x02'
    moved = data[:place] + thumbnail + data[place:]
    assert decode_image(moved).shape == (30, 40, 3)
    for scale in (None, 4):
        assert decode_scaled(moved, scale)[1] == (30, 40)


def test_a_folder_that_vanishes_in_mid_run(tmp_path):
    for part in 'ab':
        (tmp_path / part).mkdir()
        for i in range(10):
            picture().save(tmp_path / part / f'{i}.jpg')
    strict, tolerant = (
        PretrainDataset(tmp_path, pipeline=VIEWS, on_error=how, max_unreadable=0.2)
        for how in ('raise', 'skip')
    )
    assert len(strict[15].images) == 2
    (tmp_path / 'b').rename(tmp_path / '.gone')
    with pytest.raises(UnreadableImageError, match=r'b/5\.jpg: FileNotFoundError'):
        strict[15]
    assert tolerant[10].path.startswith(str(tmp_path / 'a'))
    with pytest.raises(
        UnreadableImageError, match=r'^5 images.*\(missing 5\).*20 an epoch.*max_unreadable=0.2'
    ):
        for index in range(11, 20):
            tolerant[index]
    assert set(tolerant.unreadable.values()) == {'missing'}
