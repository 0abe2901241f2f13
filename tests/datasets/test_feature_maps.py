"""Maps of whole images on disk, and what a data set makes of them."""

import json
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from densecl.datasets import PretrainDataset, feature_maps
from densecl.datasets.collate import collate_views
from densecl.datasets.feature_maps import FeatureMaps, write_maps

NAMES, SHAPE = ['b.png', 'a.png', 'c.png'], (2, 3, 4)
RECORD = dict(name='strong', licence='MIT')


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / 'maps'
    write_maps(folder, NAMES, made().split(2), SHAPE, RECORD, dict(stride=8))
    return folder


def made():
    return torch.arange(3 * 24, dtype=torch.float32).view(3, *SHAPE)


def test_each_image_has_its_own(folder):
    for maps in (FeatureMaps(folder), pickle.loads(pickle.dumps(FeatureMaps(folder)))):
        assert len(maps) == 3 and maps.shape == SHAPE
        assert maps.record == RECORD and maps.made == dict(stride=8)
        for name, value in zip(NAMES, made(), strict=True):
            assert torch.equal(maps[name], value.half())
    assert len(pickle.dumps(FeatureMaps(folder))) < 1000, 'no map is pickled'


def test_what_half_precision_cannot_hold_is_its_largest(folder):
    write_maps(folder, NAMES, (1e6 * (made() - 1)).split(3), SHAPE, RECORD)
    found = FeatureMaps(folder)['b.png']
    assert found.isfinite().all() and found.min() == -65504 and found.max() == 65504


def test_what_is_missing_or_cut_short_is_named(folder, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"no map of image 'd\.png': it was made of other images"):
        FeatureMaps(folder)['d.png']
    with pytest.raises(FileNotFoundError, match=r'empty has no feature maps .*make them: python tools/make'):
        FeatureMaps(tmp_path / 'empty')
    with pytest.raises(ValueError, match='3 images, but 2 maps were made'):
        write_maps(folder, NAMES, made()[:2].split(1), SHAPE, RECORD)
    with pytest.raises(FileNotFoundError, match='or their writing was cut off'):
        FeatureMaps(folder)
    write_maps(folder, NAMES, made().split(2), SHAPE, RECORD)
    index = json.loads((folder / 'index.json').read_text())
    (folder / 'index.json').write_text(json.dumps(dict(index, image_ids=NAMES[:2])))
    with pytest.raises(ValueError, match=r'index\.json names 2 images, maps\.npy has 3; make both again'):
        FeatureMaps(folder)
    (folder / 'maps.npy').write_bytes((folder / 'maps.npy').read_bytes()[:150])
    with pytest.raises(ValueError, match=r'maps\.npy cannot be read \(.*\); make it again'):
        FeatureMaps(folder)
    with pytest.raises(ValueError, match='3 images have 2 names; each needs its own'):
        write_maps(folder, ['a', 'b', 'a'], made().split(2), SHAPE, RECORD)
    monkeypatch.setattr(feature_maps.shutil, 'disk_usage', lambda _: SimpleNamespace(free=100))
    with pytest.raises(OSError, match='the maps need .* GiB are free'):
        write_maps(folder, NAMES, made().split(2), SHAPE, RECORD)


def test_maps_come_along_with_the_views(folder, tmp_path):
    photos = tmp_path / 'photos'
    photos.mkdir()
    for name in NAMES:
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(photos / name)
    views = dict(type='MultiView', views=[dict(size=8, count=2)])
    data = PretrainDataset(str(photos), pipeline=[views], maps=[str(folder)])
    batch = collate_views([data[i] for i in range(3)])['inputs']
    assert [data.image_id(i) for i in range(3)] == sorted(NAMES)
    assert torch.equal(batch.maps[str(folder)], made()[[1, 0, 2]].half())
    assert collate_views([PretrainDataset(str(photos), pipeline=[views])[0]])['inputs'].maps == {}
