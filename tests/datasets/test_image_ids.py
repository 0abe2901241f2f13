"""What sources call their images: the same wherever the data lie, and different for each image."""

import json
import pickle
import tarfile

import pytest
from PIL import Image

from densecl.datasets.sources import VOC, Coco, Folder, ImageNet, ListFile, Source, TarShards


def put(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (2, 2)).save(root / name)
    return root


def ids(source):
    found = [source.image_id(i) for i in range(len(source))]
    assert len(set(found)) == len(found)
    assert found == [pickle.loads(pickle.dumps(source)).image_id(i) for i in range(len(source))]
    return found


@pytest.fixture(params=['here', 'moved/deeper'])
def place(tmp_path, request):
    return tmp_path / request.param


def test_folders(place, monkeypatch):
    put(place / 'photos', 'b.jpg', 'a/z y.PNG', 'a/ü.jpg')
    expected = ['a/z y.PNG', 'a/ü.jpg', 'b.jpg']
    assert ids(Folder(place / 'photos')) == ids(Folder(f'{place}/photos/')) == expected
    assert ids(ImageNet(place / 'photos')) == expected[:2]
    monkeypatch.chdir(place)
    assert ids(Folder('photos')) == ids(Folder('./photos/../photos')) == expected
    monkeypatch.chdir(place / 'photos')
    assert ids(Folder('.')) == expected


def test_several_folders(place):
    put(place, 'x/train/1.jpg', 'y/train/1.jpg', 'y/val/1.jpg')
    assert ids(Folder([place / 'x/train', place / 'y/val'])) == ['train/1.jpg', 'val/1.jpg']
    assert ids(Folder([place / 'x/train', place / 'y/train'])) == ['x/train/1.jpg', 'y/train/1.jpg']
    assert ids(Folder([place / 'x', place / 'y/train'])) == ['x/train/1.jpg', 'train/1.jpg']


def test_lists(place):
    put(place, 'd/a/1.jpg', 'd/2.jpg', 'd/c/3.jpg', 'elsewhere/4.jpg')
    lines = ['a/1.jpg', './2.jpg', str(place / 'd/c/3.jpg'), '../elsewhere/4.jpg']
    (place / 'd/list.txt').write_text('\n'.join(lines))
    found = ids(ListFile(place / 'd', 'list.txt', outside=True))
    assert found[:3] == ['a/1.jpg', '2.jpg', 'c/3.jpg'] and found[3].endswith('elsewhere/4.jpg')


def test_coco_and_voc(place):
    put(place, 'coco/train2017/7.jpg', 'VOC2007/JPEGImages/1.jpg', 'VOC2012/JPEGImages/1.jpg')
    ann_file = place / 'coco/a.json'
    ann_file.write_text(json.dumps(dict(images=[dict(file_name='7.jpg')])))
    assert ids(Coco(place / 'coco', 'a.json', prefix='train2017')) == ['7.jpg']
    assert ids(Folder(place / 'coco/train2017')) == ['7.jpg']
    for year in ('VOC2007', 'VOC2012'):
        lists = place / year / 'ImageSets/Main'
        lists.mkdir(parents=True)
        (lists / 'trainval.txt').write_text('1')
    assert ids(VOC(place)) == ['VOC2007/JPEGImages/1.jpg', 'VOC2012/JPEGImages/1.jpg']
    assert ids(VOC(place / 'VOC2007')) == ['JPEGImages/1.jpg']


def test_tars(place, monkeypatch):
    monkeypatch.setenv('DENSECL_CACHE', str(place / 'cache'))
    put(place, 'in/1.jpg', 'in/2.jpg')
    for name in ('a/0.tar', 'a/1.tar', 'b/0.tar'):
        (place / name).parent.mkdir(exist_ok=True)
        with tarfile.open(place / name, 'w') as tar:
            for number in (1, 2):
                tar.add(place / f'in/{number}.jpg', f'k/{number}.jpg')
    assert ids(TarShards(place / 'a')) == [f'{t}.tar/k/{i}.jpg' for t in (0, 1) for i in (1, 2)]
    assert ids(TarShards(place / 'a/1.tar')) == ['1.tar/k/1.jpg', '1.tar/k/2.jpg']
    several = ids(TarShards([str(place / 'a'), str(place / 'b')]))
    assert several[0] == 'a/0.tar/k/1.jpg' and several[-1] == 'b/0.tar/k/2.jpg'


def test_a_source_of_ones_own_uses_its_names():
    class Own(Source):
        def load(self, index):
            return b'', f'image {index}'

    assert Own().image_id(4) == 'image 4'
