"""The bundled sample: licences, size, attribution, and class maps that agree with the masks."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from densecl.sample import sample_root

ROOT = sample_root()
SPLITS = ('train', 'val')
FREE_LICENSES = {4, 5, 7, 8}  # CC BY, CC BY-SA, no known restrictions, US government work
SUPERCATEGORIES = [
    'person', 'vehicle', 'outdoor', 'animal', 'accessory', 'sports', 'kitchen', 'food', 'furniture',
    'electronic', 'appliance', 'indoor',
]  # fmt: skip


def annotation_file(split):
    return ROOT / 'detection' / 'annotations' / f'instances_{split}.json'


@cache
def coco(split):
    return COCO(annotation_file(split))


def data_files():
    files = [p for p in ROOT.rglob('*') if p.is_file() and p.suffix not in ('.py', '.pyc')]
    return sorted(files)


def test_size_is_at_most_fourteen_megabytes():
    assert sum(path.stat().st_size for path in data_files()) <= 14_000_000
    assert max(path.stat().st_size for path in data_files()) <= 1_500_000


@pytest.mark.parametrize('split', SPLITS)
def test_every_coco_photo_may_be_redistributed(split):
    images = json.loads(annotation_file(split).read_text())['images']
    assert {image['license'] for image in images} <= FREE_LICENSES
    on_disk = {path.name for path in (ROOT / 'detection' / split).iterdir()}
    assert on_disk == {image['file_name'] for image in images}


def test_only_the_two_free_photo_sources_are_there():
    assert {path.name for path in (ROOT / 'photos').iterdir()} == {'clothing', 'grocery'}


def test_every_photo_is_in_the_attribution():
    text = (ROOT / 'ATTRIBUTION.md').read_text()
    listed = {line.split('|')[1].strip() for line in text.splitlines() if line.startswith('| ')}
    photos = {p.relative_to(ROOT).as_posix() for p in data_files() if p.suffix == '.jpg'}
    assert len(photos) > 600
    assert photos == {name for name in listed if name.endswith('.jpg')}


@pytest.mark.parametrize('split', SPLITS)
def test_attribution_names_the_recorded_licence(split):
    names = {4: 'CC BY 2.0', 5: 'CC BY-SA 2.0', 7: 'No known copyright restrictions'}
    rows = {
        line.split('|')[1].strip(): line
        for line in (ROOT / 'ATTRIBUTION.md').read_text().splitlines()
        if line.startswith('| detection/')
    }
    for image in coco(split).dataset['images']:
        row = rows[f'detection/{split}/{image["file_name"]}']
        assert f'[{names[image["license"]]}]' in row
        assert image['flickr_url'] in row and image['coco_url'] in row


def test_train_and_val_are_disjoint():
    train, val = ({Path(i['coco_url']).name for i in coco(s).dataset['images']} for s in SPLITS)
    assert len(train) == 121 and len(val) == 31
    assert not train & val


@pytest.mark.parametrize('split', SPLITS)
def test_all_twelve_supercategories_occur(split):
    categories = coco(split).dataset['categories']
    assert [(c['id'], c['name']) for c in categories] == list(enumerate(SUPERCATEGORIES, start=1))
    used = {obj['category_id'] for obj in coco(split).dataset['annotations']}
    assert used == set(range(1, 13))


@pytest.mark.parametrize('split', SPLITS)
def test_masks_decode_and_agree_with_boxes_and_areas(split):
    """COCO's own boxes are off its masks for a few objects (crowds most): bound a share."""
    api = coco(split)
    assert any(obj['iscrowd'] for obj in api.dataset['annotations'])
    distances = []
    for obj in api.dataset['annotations']:
        mask = api.annToMask(obj).astype(bool)
        image = api.imgs[obj['image_id']]
        assert mask.shape == (image['height'], image['width'])
        assert abs(mask.sum() - obj['area']) <= max(60, 0.3 * obj['area'])
        rows, cols = np.where(mask)
        x, y, w, h = obj['bbox']
        extent = np.array([cols.min(), rows.min(), cols.max() + 1, rows.max() + 1])
        distances.append(np.abs(extent - [x, y, x + w, y + h]).max())
    assert np.mean(np.array(distances) <= 1.6) > 0.97  # pixels
    assert max(distances) < 12


@pytest.mark.parametrize('split', SPLITS)
def test_maps_of_things_are_the_class_maps_with_one_class(split):
    assert (ROOT / 'things/classes.txt').read_text().split() == ['background', 'thing']
    names = {path.name for path in (ROOT / 'things/labels' / split).iterdir()}
    assert names == {path.name for path in (ROOT / 'segmentation' / split).iterdir()}
    for name in sorted(names):
        with Image.open(ROOT / 'segmentation' / split / name) as classes:
            expected = np.asarray(classes).copy()
        expected[(expected >= 1) & (expected <= 12)] = 1
        with Image.open(ROOT / 'things/labels' / split / name) as things:
            np.testing.assert_array_equal(np.asarray(things), expected, err_msg=name)


@pytest.mark.parametrize('split, images, boxes', [('train', 292, 3941), ('val', 72, 945)])
def test_blood_cells(split, images, boxes):
    cells = json.loads((ROOT / f'bccd/instances_{split}.json').read_text())
    assert [c['name'] for c in cells['categories']] == ['Platelets', 'RBC', 'WBC']
    assert len(cells['images']) == images and len(cells['annotations']) == boxes
    assert {f'{split}/{p.name}' for p in (ROOT / 'bccd' / split).iterdir()} == {
        image['file_name'] for image in cells['images']
    }
    for image in cells['images'][::10]:
        with Image.open(ROOT / 'bccd' / image['file_name']) as photo:
            assert photo.size == (image['width'], image['height']) == (320, 240)
    text = (ROOT / 'ATTRIBUTION.md').read_text()
    assert 'Copyright (c) 2017 shenggan (BCCD Dataset)' in text and 'Permission is hereby granted' in text


@pytest.mark.parametrize('split', SPLITS)
def test_photos_have_the_recorded_size(split):
    for image in coco(split).dataset['images']:
        with Image.open(ROOT / 'detection' / split / image['file_name']) as photo:
            assert photo.size == (image['width'], image['height'])


@pytest.mark.parametrize('split', SPLITS)
def test_class_maps_equal_masks_painted_pixel_by_pixel(split):
    """Each pixel: the smallest object that covers it; else 255 under a crowd; else 0."""
    api = coco(split)
    for image in api.dataset['images']:
        objects = api.loadAnns(api.getAnnIds(image['id']))
        shape = (image['height'], image['width'])
        best_area, expected = np.full(shape, np.inf), np.zeros(shape, np.uint8)
        for obj in objects:
            if obj['iscrowd']:
                expected[(api.annToMask(obj) == 1) & np.isinf(best_area)] = 255
                continue
            wins = (api.annToMask(obj) == 1) & (obj['area'] <= best_area)
            best_area[wins], expected[wins] = obj['area'], obj['category_id']
        path = ROOT / 'segmentation' / split / Path(image['file_name']).with_suffix('.png')
        with Image.open(path) as stored:
            assert stored.mode == 'P'
            np.testing.assert_array_equal(np.asarray(stored), expected, err_msg=str(path))


def test_pretraining_photos_decode_and_are_small():
    photos = sorted((ROOT / 'photos').rglob('*.jpg'))
    assert len(photos) == 500
    for path in photos[::10]:
        with Image.open(path) as photo:
            assert photo.mode == 'RGB' and min(photo.size) == 128
            photo.load()
