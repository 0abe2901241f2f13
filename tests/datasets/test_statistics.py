"""Statistics of a set of images against those of all its pixels at once."""

import numpy as np
import pytest
import tifffile
from oracles.sensor_files import write_folder
from PIL import Image

from densecl.datasets import (
    Folder,
    PretrainDataset,
    SensorDecoder,
    UnreadableImageError,
    estimate_statistics,
)

DECODER = dict(type='SensorDecoder', channels=4)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp('sensor'), 6, 48) / 'images'


def pixels_of(folder, names=None) -> np.ndarray:
    """(N, C) float64, every pixel of the named files."""
    paths = sorted(folder.iterdir()) if names is None else [folder / name for name in names]
    images = [tifffile.imread(path) for path in paths]
    images = [np.moveaxis(x, 0, 2) if x.shape[0] == 4 else x for x in images]
    return np.concatenate([x.reshape(-1, 4) for x in images]).astype(np.float64)


def test_real_bands(folder):
    found = estimate_statistics(PretrainDataset(folder, decoder=DECODER))
    everything = pixels_of(folder)
    assert (found.dtype, found.channels, found.images) == ('uint16', 4, 6)
    np.testing.assert_allclose(found.mean, everything.mean(0), rtol=1e-5)
    np.testing.assert_allclose(found.std, everything.std(0), rtol=1e-5)
    np.testing.assert_allclose(found.low, np.percentile(everything, 0.1, axis=0), rtol=1e-5)
    np.testing.assert_allclose(found.high, np.percentile(everything, 99.9, axis=0), rtol=1e-5)
    assert max(found.high) > 3000
    assert set(found.settings) == {'mean', 'std', 'low', 'high'}
    again = estimate_statistics(Folder(folder), decoder=SensorDecoder(4))
    assert again == found


def test_a_sample_is_drawn_by_its_seed(folder):
    dataset = PretrainDataset(folder, decoder=DECODER, pipeline=[dict(type='MultiView', views=[{}])])
    one, same, other = (estimate_statistics(dataset, 2, seed) for seed in (0, 0, 1))
    assert one == same and one.images == 2 and one.mean != other.mean
    chosen = sorted(np.random.default_rng(0).permutation(6)[:2])
    names = [sorted(p.name for p in folder.iterdir())[i] for i in chosen]
    np.testing.assert_allclose(one.mean, pixels_of(folder, names).mean(0), rtol=1e-5)


def test_what_is_not_measured_is_left_out(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.normal(300, 20, (3, 16, 20, 2)).astype(np.float32)
    images[0, :8, :, 0], images[1, 2:9, 3:], images[2, ..., 1] = np.nan, -9999, -np.inf
    for i, image in enumerate(images):
        np.save(tmp_path / f'{i}.npy', image)
    found = estimate_statistics(
        PretrainDataset(tmp_path, decoder=dict(type='SensorDecoder', channels=2, nodata=-9999))
    )
    for c in range(2):
        plane = images[..., c].astype(np.float64)
        plane = plane[np.isfinite(plane) & (plane != -9999)]
        np.testing.assert_allclose(found.mean[c], plane.mean(), rtol=1e-5)
        np.testing.assert_allclose(found.std[c], plane.std(), rtol=1e-5)
        np.testing.assert_allclose(found.low[c], np.percentile(plane, 0.1), rtol=1e-5)


def test_rgb_photos_have_a_mean_and_a_std_alone(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 200, (2, 10, 12, 3)).astype(np.uint8)
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f'{i}.png')
    found = estimate_statistics(PretrainDataset(tmp_path))
    assert found.dtype == 'uint8' and set(found.settings) == {'mean', 'std'}
    np.testing.assert_allclose(found.mean, images.reshape(-1, 3).mean(0), rtol=1e-5)
    np.testing.assert_allclose(found.std, images.reshape(-1, 3).std(0), rtol=1e-5)


def test_images_that_do_not_go_together(tmp_path):
    decoder = dict(type='SensorDecoder', channels=1)
    np.save(tmp_path / 'a.npy', np.full((4, 5), 7, np.uint16))
    with pytest.raises(ValueError, match="channel 0 has the value 7 in all 1 images.*decoder's bands"):
        estimate_statistics(PretrainDataset(tmp_path, decoder=decoder))
    np.save(tmp_path / 'b.npy', np.zeros((4, 5), np.uint8))
    with pytest.raises(
        ValueError, match='a.npy holds uint16 values, .*b.npy uint8: take images of one depth'
    ):
        estimate_statistics(PretrainDataset(tmp_path, decoder=decoder))


def test_unreadable_files(tmp_path):
    decoder = dict(type='SensorDecoder', channels=1)
    values = np.random.default_rng(0).integers(0, 99, (4, 5)).astype(np.uint8)
    np.save(tmp_path / 'a.npy', values)
    (tmp_path / 'b.npy').write_bytes(b'no')
    with pytest.raises(UnreadableImageError, match='b.npy'):
        estimate_statistics(PretrainDataset(tmp_path, decoder=decoder))
    found = estimate_statistics(PretrainDataset(tmp_path, decoder=decoder, on_error='skip'))
    assert found.images == 1 and abs(found.mean[0] - values.mean()) < 1e-3
    (tmp_path / 'a.npy').unlink()
    with pytest.raises(UnreadableImageError, match='b.npy'):
        estimate_statistics(PretrainDataset(tmp_path, decoder=decoder, on_error='skip'))
