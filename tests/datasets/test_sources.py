"""Sources other than tars, on real files."""

import json
import os
import pickle
import re

import numpy as np
import pytest
from PIL import Image

from densecl.datasets.sources import VOC, CaptionTable, Coco, Folder, ImageNet, ListFile, StringTable, folder
from densecl.registry import DATASETS


def put(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() in ('.jpg', '.jpeg', '.png', '.tif', '.webp'):
            Image.new('RGB', (4, 3)).save(path)
        else:
            path.write_text('text')


def names(source, root):
    return [os.path.relpath(source.load(i)[0], root) for i in range(len(source))]


def test_folder_takes_images_of_the_whole_tree_in_order(tmp_path):
    put(tmp_path, 'b.jpg', 'a/z.PNG', 'a/k/x y.jpeg', 'a.webp', 'ü/ß.tif')
    put(tmp_path, 'notes.txt', '.hidden.jpg', '.cache/c.jpg', 'a/._z.jpg', 'README', 'jpg')
    source = Folder(tmp_path)
    assert names(source, tmp_path) == ['a.webp', 'a/k/x y.jpeg', 'a/z.PNG', 'b.jpg', 'ü/ß.tif']
    assert source.load(1)[0] == source.load(1)[1]
    assert source.label(0) is None and source.shard_starts is None


def test_folder_follows_links_but_not_in_circles(tmp_path):
    put(tmp_path / 'elsewhere', 'x.jpg')
    put(tmp_path / 'data', 'a.jpg', 'sub/b.jpg')
    (tmp_path / 'data/linked').symlink_to(tmp_path / 'elsewhere')
    (tmp_path / 'data/link.jpg').symlink_to(tmp_path / 'elsewhere/x.jpg')
    (tmp_path / 'data/sub/up').symlink_to(tmp_path / 'data')
    source = Folder(tmp_path / 'data')
    assert names(source, tmp_path / 'data') == ['a.jpg', 'link.jpg', 'linked/x.jpg', 'sub/b.jpg']


def test_folder_takes_a_list_of_folders(tmp_path):
    put(tmp_path, 'b/1.jpg', 'a/2.jpg')
    source = Folder([str(tmp_path / 'b'), tmp_path / 'a'])
    assert names(source, tmp_path) == ['b/1.jpg', 'a/2.jpg']


def test_folder_errors(tmp_path):
    put(tmp_path, 'x.heic', 'y.heic', 'z.jpg')
    with pytest.raises(FileNotFoundError, match='nowhere does not exist'):
        Folder(tmp_path / 'nowhere')
    with pytest.raises(NotADirectoryError, match=r'must be a folder, got the file .*z\.jpg'):
        Folder(tmp_path / 'z.jpg')
    (tmp_path / 'z.jpg').unlink()
    with pytest.raises(FileNotFoundError, match=r'no image below .*2 \.heic'):
        Folder(tmp_path)


def test_folders_that_cannot_be_listed(tmp_path, monkeypatch):
    """One below the root is named in the log; of the root the error is raised."""
    locked, scandir, logged = {str(tmp_path / 'b')}, os.scandir, []

    def refused(path):
        if str(path) in locked:
            raise PermissionError(13, 'Permission denied', str(path))
        return scandir(path)

    for name in 'abc':
        (tmp_path / name).mkdir()
        (tmp_path / name / 'x.jpg').touch()
    monkeypatch.setattr(os, 'scandir', refused)
    monkeypatch.setattr(folder, 'print_log', lambda text, *_: logged.append(text))
    source = Folder(tmp_path)
    assert [source.image_id(i) for i in range(len(source))] == ['a/x.jpg', 'c/x.jpg']
    assert logged == [f'left out: {tmp_path / "b"}: Permission denied']
    locked.add(str(tmp_path))
    with pytest.raises(PermissionError, match=re.escape(f"Permission denied: '{tmp_path}'")):
        Folder(tmp_path)


def test_names_that_are_not_utf8(tmp_path):
    raw = os.fsencode(tmp_path) + b'/\xe9t\xe9.jpg'
    Image.new('RGB', (2, 2)).save(tmp_path / 'x.jpg')
    os.rename(tmp_path / 'x.jpg', raw)
    path = Folder(tmp_path).load(0)[0]
    assert os.fsencode(path) == raw and os.path.isfile(path)


def test_imagenet_labels(tmp_path):
    put(tmp_path, 'n02/b.jpg', 'n01/c.jpg', 'n02/deep/a.jpg', 'stray.jpg')
    source = ImageNet(tmp_path)
    assert names(source, tmp_path) == ['n01/c.jpg', 'n02/b.jpg', 'n02/deep/a.jpg']
    assert [source.label(i) for i in range(3)] == [0, 1, 1]
    assert source.class_names == ['n01', 'n02']


def test_imagenet_errors(tmp_path):
    put(tmp_path, 'train/n01/a.jpg', 'val/n01/b.jpg')
    with pytest.raises(ValueError, match='set data_root to one of .*train'):
        ImageNet(tmp_path)
    with pytest.raises(ValueError, match="no class folders.*type='Folder'"):
        ImageNet(tmp_path / 'train' / 'n01')
    with pytest.raises(ValueError, match='one folder, got 2'):
        ImageNet([tmp_path, tmp_path])


def test_list_file(tmp_path):
    put(tmp_path, 'b.jpg', 'a b 7.jpg', 'no_extension')
    (tmp_path / 'list.txt').write_text('b.jpg\n\na b 7.jpg\r\n./no_extension\n')
    source = ListFile(tmp_path, 'list.txt')
    assert names(source, tmp_path) == ['b.jpg', 'a b 7.jpg', 'no_extension']
    assert source.label(0) is None


@pytest.mark.parametrize('separator', [' ', '\t', '  '])
def test_list_file_with_labels(tmp_path, separator):
    put(tmp_path, 'b.jpg', 'a b 7.jpg')
    other = tmp_path / 'lists' / 'x.txt'
    other.parent.mkdir()
    other.write_text(f'b.jpg{separator}12\na b 7.jpg{separator}0\n')
    source = ListFile(tmp_path, str(other))
    assert names(source, tmp_path) == ['b.jpg', 'a b 7.jpg']
    assert [source.label(0), source.label(1)] == [12, 0]


def test_list_file_with_unknown_classes(tmp_path):
    put(tmp_path, 'a.jpg', 'b.jpg', 'c.jpg')
    (tmp_path / 'list.txt').write_text('a.jpg -1\nb.jpg 3\nc.jpg -1\n')
    source = ListFile(tmp_path, 'list.txt')
    assert names(source, tmp_path) == ['a.jpg', 'b.jpg', 'c.jpg']
    assert [source.label(i) for i in range(3)] == [-1, 3, -1]


def test_list_file_errors(tmp_path):
    put(tmp_path, 'a.jpg', 'b.jpg')
    file = tmp_path / 'list.txt'
    with pytest.raises(FileNotFoundError, match=r'list_file: there is no file .*gone\.txt'):
        ListFile(tmp_path, 'gone.txt')
    file.write_text('\n')
    with pytest.raises(ValueError, match='lists no image'):
        ListFile(tmp_path, 'list.txt')
    file.write_text('a.jpg 1\nb.jpg\n')
    with pytest.raises(ValueError, match=r'1 of 2 images a label.*b\.jpg'):
        ListFile(tmp_path, 'list.txt')
    file.write_text('a.jpg\nsub/c.jpg\nd.jpg\n')
    with pytest.raises(FileNotFoundError, match=r'2 of the 3 images in .*sub/c\.jpg.*check_files'):
        ListFile(tmp_path, 'list.txt')
    assert len(ListFile(tmp_path, 'list.txt', check_files=False)) == 3


def sources_of(root, name):
    """Of every kind with one image of this name; each but VOC takes further arguments."""
    (root / 'list.txt').write_text(name)
    (root / 'a.json').write_text(json.dumps({'images': [{'file_name': name}]}))
    (root / 'a.csv').write_text(f'image,caption\n{name},text\n')
    (root / 'ImageSets/Main').mkdir(parents=True, exist_ok=True)
    (root / 'ImageSets/Main/trainval.txt').write_text(name.removesuffix('.jpg'))
    yield lambda **options: ListFile(root, 'list.txt', **options)
    yield lambda **options: Coco(root, 'a.json', **options)
    yield lambda **options: CaptionTable(root, 'a.csv', **options)
    yield lambda: VOC(root)


def test_links_to_other_disks_are_followed(tmp_path):
    """A linked root, a linked folder, and a folder of linked files as Hugging Face and DVC have it."""
    put(tmp_path / 'disk', 'photos/a.jpg', 'blobs/1234')
    put(tmp_path / 'real', 'JPEGImages/c.jpg')
    (tmp_path / 'data').symlink_to(tmp_path / 'real')
    for linked in ('train', 'JPEGImages/train'):
        (tmp_path / 'real' / linked).symlink_to(tmp_path / 'disk/photos')
    for name in ('b.jpg', 'JPEGImages/b.jpg'):
        (tmp_path / 'real' / name).symlink_to(tmp_path / 'disk/blobs/1234')
    for name in ('train/a.jpg', 'b.jpg'):
        for build in sources_of(tmp_path / 'data', name):
            assert build().load(0)[0].endswith(name)


@pytest.mark.parametrize('absolute', [False, True])
def test_names_that_lead_out_are_refused_with_a_way_out(tmp_path, absolute):
    put(tmp_path, 'x.jpg', 'data/JPEGImages/a.jpg')
    name = str(tmp_path / 'x.jpg') if absolute else '../x.jpg'
    *listed, voc = sources_of(tmp_path / 'data', name)
    for build in listed:
        with pytest.raises(ValueError, match='leads out of .*data; write names below.*set outside=True'):
            build()
        assert os.path.samefile(build(outside=True).load(0)[0], tmp_path / 'x.jpg')
    if not absolute:
        (tmp_path / 'data/ImageSets/Main/trainval.txt').write_text('../../x')
    with pytest.raises(ValueError, match='leads out of .*write names below that folder$'):
        voc()


def test_coco(tmp_path):
    put(tmp_path, 'train2017/2.jpg', 'train2017/1.jpg')
    images = [{'id': 2, 'file_name': '2.jpg'}, {'id': 1, 'file_name': '1.jpg'}]
    (tmp_path / 'annotations').mkdir()
    (tmp_path / 'annotations/x.json').write_text(json.dumps({'images': images}))
    expected = ['train2017/2.jpg', 'train2017/1.jpg']
    assert names(Coco(tmp_path, 'annotations/x.json', prefix='train2017'), tmp_path) == expected
    absolute = str(tmp_path / 'annotations/x.json')
    assert names(Coco(tmp_path / 'train2017', absolute), tmp_path) == expected


def test_coco_errors(tmp_path):
    file = tmp_path / 'x.json'
    for text, message in [
        ('{', r'x\.json is not json'),
        ('{"annotations": []}', 'list "images", it has'),
        ('[1]', 'list "images", it has'),
        ('{"images": [{"id": 1}]}', "has no 'file_name'; it has"),
        ('{"images": []}', 'is empty'),
    ]:
        file.write_text(text)
        with pytest.raises(ValueError, match=message):
            Coco(tmp_path, 'x.json')
    file.write_text('{"images": [{"file_name": "gone.jpg"}]}')
    with pytest.raises(FileNotFoundError, match=r'1 of the 1 images .*gone\.jpg'):
        Coco(tmp_path, 'x.json')
    with pytest.raises(FileNotFoundError, match=r'ann_file: there is no file .*y\.json'):
        Coco(tmp_path, 'y.json')


def voc(root, year, **splits):
    for split, ids in splits.items():
        put(root / year, *(f'JPEGImages/{i}.jpg' for i in ids))
        file = root / year / 'ImageSets' / 'Main' / f'{split}.txt'
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(''.join(f'{i}  1\n' if split == 'cat_train' else f'{i}\n' for i in ids))


def test_voc(tmp_path):
    voc(tmp_path, 'VOC2012', trainval=['2008_1', '2008_2'], cat_train=['2008_2'])
    voc(tmp_path, 'VOC2007', trainval=['000005'], test=['000001'])
    both = ['VOC2007/JPEGImages/000005.jpg']
    both += ['VOC2012/JPEGImages/2008_1.jpg', 'VOC2012/JPEGImages/2008_2.jpg']
    assert names(VOC(tmp_path), tmp_path) == both
    assert names(VOC(tmp_path, split='test'), tmp_path) == ['VOC2007/JPEGImages/000001.jpg']
    assert names(VOC(tmp_path / 'VOC2012'), tmp_path) == both[1:]
    assert names(VOC(tmp_path, split='cat_train'), tmp_path) == both[2:]


def test_voc_errors(tmp_path):
    voc(tmp_path, 'VOC2012', trainval=['1'], empty=[])
    with pytest.raises(FileNotFoundError, match=r'no ImageSets/Main/train\.txt in'):
        VOC(tmp_path, split='train')
    with pytest.raises(ValueError, match='list no image'):
        VOC(tmp_path, split='empty')
    (tmp_path / 'VOC2012/JPEGImages/1.jpg').unlink()
    with pytest.raises(FileNotFoundError, match=r'1 of the 1 images in .*trainval\.txt'):
        VOC(tmp_path)


@pytest.mark.parametrize('kind', ['Folder', 'ImageNet', 'ListFile', 'Coco', 'VOC', 'TarShards'])
def test_sources_are_registered(kind):
    assert DATASETS.get(kind).__name__ == kind


def test_string_table():
    strings = ['', 'a', 'äöü', '', 'x' * 300]
    table = pickle.loads(pickle.dumps(StringTable(strings)))
    joined = StringTable.concatenate([table, StringTable([]), table])
    assert [table[i] for i in range(5)] == strings and len(table) == 5
    assert [joined[i] for i in range(10)] == strings * 2


def test_a_million_paths_hold_no_python_objects():
    table = StringTable(f'/data/train/n{i:08d}.jpg' for i in range(1_000_000))
    held = [v for v in vars(table).values() if isinstance(v, np.ndarray)]
    assert len(held) == len(vars(table)) and sum(v.nbytes for v in held) < 40e6
    assert table[999_999] == '/data/train/n00999999.jpg'


def test_images_do_not_count_twice(tmp_path):
    put(tmp_path / 'a', 'x.jpg', 'b/y.jpg')
    (tmp_path / 'link').symlink_to(tmp_path / 'a')
    for further in (tmp_path / 'a', tmp_path / 'link', tmp_path / 'a/b'):
        with pytest.raises(ValueError, match='lies in .*, so that its images would count twice'):
            Folder([tmp_path / 'a', further])
