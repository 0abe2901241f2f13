"""A data set of another sensor: what is read, what is refused, and with which words."""

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from torch.utils.data import DataLoader

from densecl.datasets import (
    LoadSensorImage,
    PretrainDataset,
    SensorDecoder,
    UnreadableImageError,
    collate_views,
    decode_image,
)
from densecl.datasets.bands import LIMIT
from densecl.finetune.label_maps import _size
from densecl.registry import TRANSFORMS
from densecl.runs.sensor import decoder_of_photos
from densecl.settings.photos import _short_side

VIEWS = [dict(count=2, size=16, photometric=dict(brightness=0.4, jitter_prob=1.0))]
PIPELINE = [dict(type='MultiView', views=VIEWS)]


def write(path, channels=4, dtype=np.uint16, seed=0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 4096 if dtype == np.uint16 else 250, (24, 40, channels)).astype(dtype)
    tifffile.imwrite(path, image, photometric='minisblack', planarconfig='contig')
    return image


def test_bands_are_chosen_and_put_in_order(tmp_path):
    image = write(tmp_path / 'a.tif')
    np.testing.assert_array_equal(SensorDecoder(4)(tmp_path / 'a.tif'), image)
    chosen = SensorDecoder(2, bands=[3, 0])(tmp_path / 'a.tif')
    assert chosen.flags.c_contiguous
    np.testing.assert_array_equal(chosen, image[..., [3, 0]])


@pytest.mark.parametrize(('dtype', 'held'), [(np.uint16, 2), (np.int16, 4)])
def test_the_bound_is_that_of_memory_and_can_be_moved(tmp_path, dtype, held, monkeypatch):
    size = write(tmp_path / 'a.tif', dtype=dtype).size * held
    monkeypatch.setenv(LIMIT, str(size))
    assert SensorDecoder(4)(tmp_path / 'a.tif').nbytes == size
    monkeypatch.setenv(LIMIT, str(size - 1))
    with pytest.raises(UnreadableImageError, match=f'environment variable {LIMIT} to {size} or') as caught:
        SensorDecoder(4)(tmp_path / 'a.tif')
    assert caught.value.reason == 'too large'


def first_of(path):
    return decoder_of_photos([str(path)])


@pytest.mark.parametrize('read', [SensorDecoder(4), decode_image, first_of, _short_side, _size])
def test_every_reader_knows_the_bound(tmp_path, read, monkeypatch):
    write(tmp_path / 'a.tif', channels=5)  # Pillow knows no such file
    monkeypatch.setenv(LIMIT, '9599')
    with pytest.raises(UnreadableImageError, match=f'a.tif.*set the environment variable {LIMIT} to 9600'):
        read(tmp_path / 'a.tif')


@pytest.mark.parametrize('text', ['2 GiB', '-1', '0', 'nan', 'inf'])
def test_a_bound_that_is_none_is_told_at_once(text, monkeypatch):
    monkeypatch.setenv(LIMIT, text)
    with pytest.raises(ValueError, match=f'{LIMIT} must be a number of bytes, .* got {text!r}'):
        SensorDecoder(4)


def test_other_images_are_refused_by_name(tmp_path):
    write(tmp_path / 'a.tif', 2)
    path = tmp_path / 'a.tif'
    with pytest.raises(
        UnreadableImageError, match=r'a.tif has 2 channels \(uint16\).*channels=4.*channels=2'
    ):
        SensorDecoder(4)(path)
    with pytest.raises(
        UnreadableImageError, match=r'a.tif has 2 channels .*bands=\[0, 2\].*number 2.*0 to 1'
    ):
        SensorDecoder(2, bands=[0, 2])(path)
    with pytest.raises(UnreadableImageError, match="a.tif holds uint16 values, decoder.dtype='uint8'"):
        SensorDecoder(2, dtype='uint8')(path)
    with pytest.raises(UnreadableImageError, match='cannot read image .*b.tif: FileNotFoundError'):
        SensorDecoder(2)(tmp_path / 'b.tif')


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(channels=0), 'channels must be an int of at least 1, got 0'),
        (dict(channels=2, bands=[1]), r'bands must name 2 channels, counted from 0, got \[1\]'),
        (dict(channels=1, bands=[-1]), 'bands must name 1'),
        (dict(channels=1, dtype='int16'), "dtype must be .*'int16'"),
        (dict(channels=3, fill=(1, 2)), 'fill must be one number or 3'),
    ],
)
def test_wrong_settings(arguments, message):
    with pytest.raises(ValueError, match=message):
        SensorDecoder(**arguments)


def test_what_is_not_measured_is_filled(tmp_path):
    image = np.arange(48, dtype=np.float32).reshape(4, 6, 2)
    image[0, 0, 0], image[1, 1, 1], image[2, 2, 0] = np.nan, np.inf, -9999
    np.save(tmp_path / 'a.npy', image)
    bad = ~np.isfinite(image) | (image == -9999)
    pixels, valid = SensorDecoder(2, nodata=-9999).read(tmp_path / 'a.npy')
    np.testing.assert_array_equal(valid, ~bad)
    np.testing.assert_array_equal(pixels, image)
    filled = SensorDecoder(2, nodata=-9999)(tmp_path / 'a.npy')
    assert filled.dtype == np.float32 and np.isfinite(filled).all()
    for c in range(2):
        mean = image[..., c][~bad[..., c]].astype(np.float64).mean()
        np.testing.assert_allclose(filled[..., c][bad[..., c]], mean, rtol=1e-6)
    np.testing.assert_array_equal(filled[~bad], image[~bad])
    given = SensorDecoder(2, nodata=-9999, fill=(7, 8))(tmp_path / 'a.npy')
    assert given[0, 0, 0] == given[2, 2, 0] == 7 and given[1, 1, 1] == 8
    whole = np.array([[[0], [10]], [[21], [0]]], np.uint16)
    np.save(tmp_path / 'b.npy', whole)
    np.testing.assert_array_equal(
        SensorDecoder(1, nodata=0)(tmp_path / 'b.npy')[..., 0], [[16, 10], [21, 16]]
    )
    assert SensorDecoder(1).read(tmp_path / 'b.npy')[1] is None


@pytest.mark.parametrize('workers', [0, 1])
def test_a_data_set_keeps_the_depth(tmp_path, workers):
    images = [write(tmp_path / f'{i}.tif', seed=i) for i in range(4)]
    decoder = dict(type='SensorDecoder', channels=4)
    plain = PretrainDataset(tmp_path, decoder=decoder)[1]
    np.testing.assert_array_equal(plain['image'], images[1])
    assert plain['source_size'] == (24, 40) and plain['channels'] == 4
    dataset = PretrainDataset(tmp_path, pipeline=PIPELINE, decoder=decoder)
    (batch,) = DataLoader(dataset, 4, collate_fn=collate_views, num_workers=workers)
    views = batch['inputs']
    assert [tuple(v.shape) for v in views.images] == [(4, 16, 16, 4)] * 2
    assert all(v.dtype == torch.uint16 for v in views.images)
    assert all(p.jitter.all() for p in views.photometric)
    assert 500 < views.images[0].float().mean() < 3600


def test_folders_of_npy_are_images_for_a_decoder_alone(tmp_path):
    np.save(tmp_path / 'a.npy', np.zeros((8, 9, 2), np.float32))
    write(tmp_path / 'b.tif', 2)
    dataset = PretrainDataset(tmp_path, decoder=dict(type='SensorDecoder', channels=2))
    assert [dataset[i]['path'][-5:] for i in range(2)] == ['a.npy', 'b.tif']
    assert len(PretrainDataset(tmp_path)) == 1
    (tmp_path / 'list.txt').write_text('a.npy 3\nb.tif 4\n')
    source = dict(type='ListFile', list_file='list.txt')
    dataset = PretrainDataset(tmp_path, source, decoder=dict(type='SensorDecoder', channels=2))
    assert [dataset[i]['label'] for i in range(2)] == [3, 4]


def test_two_depths_in_a_batch_are_refused(tmp_path):
    write(tmp_path / 'a.tif', dtype=np.uint8)
    write(tmp_path / 'b.tif')
    dataset = PretrainDataset(tmp_path, pipeline=PIPELINE, decoder=dict(type='SensorDecoder', channels=4))
    with pytest.raises(
        ValueError, match='a.tif has 4 channels of uint8, .*b.tif 4 channels of uint16: .*dtype'
    ):
        collate_views([dataset[0], dataset[1]])


def test_a_decoder_does_not_go_with_reduced_decoding(tmp_path):
    write(tmp_path / 'a.tif')
    with pytest.raises(ValueError, match='decode_min_side of a dataset with a decoder must be'):
        PretrainDataset(tmp_path, decoder=dict(type='SensorDecoder', channels=4), decode_min_side=100)


@pytest.mark.parametrize(
    ('channels', 'dtype'), [(2, np.uint8), (2, np.uint16), (4, np.uint16), (5, np.uint8)]
)
def test_bands_into_an_rgb_method_end_in_one_line(tmp_path, channels, dtype):
    write(tmp_path / 'a.tif', channels, dtype)
    name = np.dtype(dtype).name
    message = (
        rf'cannot read image .*a\.tif as RGB: it has {channels} channels \({name}\); set dataset\.decoder='
        rf"dict\(type='SensorDecoder', channels={channels}\), .*mean and std .*in_channels={channels}$"
    )
    with pytest.raises(UnreadableImageError, match=message) as caught:
        PretrainDataset(tmp_path, pipeline=PIPELINE)[0]
    assert '\n' not in str(caught.value)


def test_rgb_files_come_out_the_same_through_both(tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (30, 40, 3)).astype(np.uint8)).save(tmp_path / 'a.png')
    Image.open(tmp_path / 'a.png').save(tmp_path / 'b.tif')
    for path in tmp_path.iterdir():
        np.testing.assert_array_equal(SensorDecoder(3)(path), decode_image(path))


def test_the_loader_of_mm_pipelines(tmp_path):
    image = write(tmp_path / 'a.tif')
    load = TRANSFORMS.build(dict(type='LoadSensorImage', channels=2, bands=[3, 1]))
    results = load({'img_path': str(tmp_path / 'a.tif')})
    np.testing.assert_array_equal(results['img'], image[..., [3, 1]])
    assert results['img'].dtype == np.uint16 and results['img_shape'] == results['ori_shape'] == (24, 40)
    assert LoadSensorImage(True, channels=4)({'img_path': str(tmp_path / 'a.tif')})['img'].dtype == np.float32
