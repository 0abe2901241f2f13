"""Images that were generated of each photo: which one is taken, and the views that are cut from it."""

import json
import os

import cv2
import numpy as np
import pytest
import torch

from densecl.datasets import PretrainDataset, SampleKey
from densecl.datasets.decode import UnreadableImageError
from densecl.datasets.generated import GeneratedImages
from densecl.datasets.transforms import MultiView
from densecl.models.heads.units.base import place_of
from densecl.models.matching import ByLocation, SameId, SameRow, SharedGrid
from densecl.structures import Batch, Units, Views

COLOURS = {'a': 50, 'b': 100}


@pytest.fixture
def folder(tmp_path):
    """Photos a and b; of a three generated images, of b one. All are flat, of levels of their own."""
    (tmp_path / 'photos' / '.generated').mkdir(parents=True)
    for name, level in COLOURS.items():
        cv2.imwrite(str(tmp_path / 'photos' / f'{name}.jpg'), np.full((300, 400, 3), level, np.uint8))
    for name, level in (('a_0', 150), ('a_1', 160), ('a_2', 170), ('b_0', 200)):
        cv2.imwrite(
            str(tmp_path / 'photos' / '.generated' / f'{name}.png'), np.full((90, 64, 3), level, np.uint8)
        )
    return tmp_path


def listed(folder, suffix: str, scores=(0.1, 0.9, 0.5)):
    rows = [dict(image='a.jpg', file=f'photos/.generated/a_{i}.png', score=s) for i, s in enumerate(scores)]
    rows.append(dict(image='b.jpg', file='photos/.generated/b_0.png', score=0.2))
    path = folder / f'list.{suffix}'
    if suffix == 'json':
        path.write_text(json.dumps(rows))
    else:
        lines = ['image,file,score', *(','.join(map(str, r.values())) for r in rows)]
        path.write_text('\n'.join(lines))
    return str(path)


def dataset(folder, views=None, **generated):
    views = views or [dict(size=32), dict(size=32, generated=True)]
    found = PretrainDataset(
        str(folder / 'photos'), pipeline=[MultiView(views)], generated=generated, max_unreadable=1
    )
    assert len(found) == 2
    return found


def level(image: torch.Tensor) -> int:
    return round(float(image.float().mean()))


def test_a_pattern_finds_the_images_beside_each_photo(folder):
    data = dataset(folder, files='.generated/{stem}_*', take='first')
    assert [[level(v) for v in data[i].images] for i in range(2)] == [[50, 150], [100, 200]]
    assert data[0].generated == (1,) and np.isnan(data[0].score)


def test_images_of_a_photo_with_a_longer_name_are_its_own(tmp_path):
    for name in ('cat.jpg', 'cat_2.jpg', 'cat [3].jpg', '.generated/cat_0.jpg', '.generated/cat_2_0.jpg'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (
        tmp_path / '.generated/cat_2.jpg'
    ).touch()  # of cat: the pattern of cat_2 does not match
    (tmp_path / '.generated/cat [3]_0.jpg').touch()
    find = GeneratedImages('.generated/{stem}_*')._beside
    found = {
        name: [os.path.relpath(each.file, tmp_path / '.generated') for each in find(str(tmp_path / name))]
        for name in ('cat.jpg', 'cat_2.jpg', 'cat [3].jpg')
    }
    assert found == {
        'cat.jpg': ['cat_0.jpg', 'cat_2.jpg'],
        'cat_2.jpg': ['cat_2_0.jpg'],
        'cat [3].jpg': ['cat [3]_0.jpg'],
    }


@pytest.mark.parametrize('suffix', ['csv', 'json'])
def test_a_list_names_them_and_the_best_has_the_highest_score(folder, suffix):
    data = dataset(folder, files=listed(folder, suffix), take='best')
    assert [level(data[i].images[1]) for i in range(2)] == [160, 200]
    assert [data[i].score for i in range(2)] == [0.9, 0.2]
    batch = Views.collate([data[0], data[1]])
    torch.testing.assert_close(batch.scores, torch.tensor([0.9, 0.2]))
    assert Batch.of(batch).scores is batch.scores and batch.to('cpu').generated == (1,)


def test_random_ones_change_with_the_epoch_alone(folder):
    data = dataset(folder, files='.generated/{stem}_*')
    seen = [level(data[SampleKey(epoch, 0)].images[1]) for epoch in range(60)]
    assert seen == [level(data[SampleKey(epoch, 0)].images[1]) for epoch in range(60)]
    assert all(8 < seen.count(x) < 36 for x in (150, 160, 170))


def test_the_photos_views_are_those_without_generated_images(folder):
    plain = dataset(folder, views=[dict(size=32)], files='.generated/{stem}_*')
    both = dataset(folder, files='.generated/{stem}_*')
    assert torch.equal(plain[0].boxes[0], both[0].boxes[0]) and torch.equal(
        plain[0].images[0], both[0].images[0]
    )


def test_missing_ones_are_an_error_that_names_the_photo_or_the_photo_itself(folder):
    (folder / 'photos' / '.generated' / 'b_0.png').unlink()
    with pytest.raises(ValueError, match=r'b\.jpg: no generated image matches .generated/\{stem\}_\*'):
        dataset(folder, files='.generated/{stem}_*')[1]
    filled = dataset(folder, files='.generated/{stem}_*', missing='photo')[1]
    assert [level(v) for v in filled.images] == [100, 100] and filled.generated == (1,)


@pytest.mark.parametrize('missing', ['error', 'photo'])
def test_an_unreadable_one_is_named_and_its_photo_takes_its_place(folder, missing, monkeypatch):
    (folder / 'photos' / '.generated' / 'b_0.png').write_bytes(b'broken')
    data = dataset(folder, files='.generated/{stem}_*', missing=missing)
    with pytest.raises(UnreadableImageError, match=r'b_0\.png'):
        data[1]
    said = []
    monkeypatch.setattr('densecl.datasets.pretrain_dataset.print_log', lambda text, *_: said.append(text))
    data.on_error = 'skip'
    sample, _ = (data[SampleKey(epoch, 1)] for epoch in range(2))  # named once
    assert [level(v) for v in sample.images] == [100, 100] and np.isnan(sample.score)
    assert data.unreadable == {}
    assert len(said) == 1 and 'replaced by its photo (1 so far)' in said[0] and 'b_0.png' in said[0]
    (folder / 'photos' / 'b.jpg').write_bytes(b'broken')
    assert data[1].index == 0 and data.unreadable == {'b.jpg': 'not an image'}


def test_wrong_settings_and_lists_are_refused(folder):
    for wrong, message in (
        (dict(files='x_*'), 'files must be a pattern'),
        (dict(files='{stem}', take='last'), "take must be 'first', "),
        (dict(files='{stem}', take='best'), 'needs a score'),
        (dict(files=listed(folder, 'csv', ('', 1, 2)), take='best'), 'needs a score'),
    ):
        with pytest.raises(ValueError, match=message):
            GeneratedImages(**wrong)
    with pytest.raises(FileNotFoundError, match='does not exist'):
        GeneratedImages('nowhere.csv')
    (folder / 'bad.csv').write_text('photo,file\na,b\n')
    with pytest.raises(ValueError, match=r'bad\.csv: entry 0 is .*, expected rows with image, file'):
        GeneratedImages(str(folder / 'bad.csv'))
    (folder / 'bad.csv').write_text('image,file\na,""\n')
    with pytest.raises(ValueError, match=r"bad\.csv: '' is no path"):
        GeneratedImages(str(folder / 'bad.csv'))


@pytest.mark.parametrize(
    ('name', 'data'),
    [('a.json', b'[{'), ('a.json', b'"a"'), ('a.json', b'["\xe9"]'), ('a.csv', b'image,file\n\xe9.jpg,x')],
)
def test_lists_that_cannot_be_read_are_named(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=rf'{name}.* expected .*rows with image, file'):
        GeneratedImages(str(tmp_path / name))


def test_regions_and_followers_of_generated_views_are_refused():
    made = dict(size=16, generated=True)
    with pytest.raises(ValueError, match='regions and min_overlap are places of the photo'):
        MultiView([dict(size=16), made], min_overlap=0.1)
    results = dict(image=np.zeros((40, 40, 3), np.uint8), rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match='set dataset.generated'):
        MultiView([made])(results)
    with pytest.raises(ValueError, match='must name an earlier view of the photo'):
        MultiView([made, dict(size=16, crop_of=0)])(results | dict(generated=np.zeros((40, 40, 3), np.uint8)))


def test_rules_by_location_say_that_places_are_unknown(folder):
    data = dataset(folder, files='.generated/{stem}_*', take='first')
    views = Views.collate([data[0], data[1]])
    views.images = [torch.zeros(2, 3, 32, 32)] * 2
    query, key = (
        Units(torch.randn(2, 4, 3), place=place_of(views, v, grid=(2, 2)), ids=torch.zeros(2, 4).long())
        for v in range(2)
    )
    batch = Batch.of(views)
    for rule in (ByLocation(), SharedGrid(), SameId(overlap=True)):
        with pytest.raises(ValueError, match='view 1 is cut from a generated image: its places in the photo'):
            rule(query, key, batch)
    assert SameRow()(query, key, batch).index.shape == (2, 4)
    assert key.take(torch.zeros(2, 1).long()).vectors.shape == (2, 1, 3)
