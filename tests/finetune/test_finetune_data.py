"""What is read off a user's labels; and mistakes, each in one line that names the place."""

import json

import numpy as np
import pytest
from PIL import Image

from densecl.datasets.sensor import load_bands
from densecl.finetune import read_data
from densecl.finetune.data import size_as_read
from densecl.sample import sample_root


def test_boxes_are_divided_by_name_and_written(coco, tmp_path):
    found = read_data(coco(10), tmp_path / 'out')
    assert found.task == 'detection' and found.classes == ('red', 'blue'), (
        'in the order of the file, as mmdet'
    )
    parts = [json.loads((tmp_path / 'out' / f'densecl-{name}.json').read_text()) for name in ('train', 'val')]
    names = [{row['file_name'] for row in part['images']} for part in parts]
    assert len(names[0]) == 8 and len(names[1]) == 2 and not names[0] & names[1]
    again = read_data(coco(10), tmp_path / 'again')
    assert json.loads(again.val.list_file.read_text()) == parts[1], 'the same every time'
    assert found.train.size == (64, 48) and found.train.images == tmp_path / 'images'
    assert any('set apart' in note for note in found.notes)


def test_a_share_is_spread_over_the_names_and_written(coco, label_maps, tmp_path):
    train = coco(20, name='instances_train.json')
    coco(3, name='instances_val.json')
    found = read_data(train, tmp_path / 'out', share=0.1)
    kept = json.loads(found.train.list_file.read_text())
    names = sorted(row['file_name'] for row in json.loads(train.read_text())['images'])
    assert sorted(row['file_name'] for row in kept['images']) == [names[0], names[10]]
    assert {row['image_id'] for row in kept['annotations']} == {row['id'] for row in kept['images']}
    assert len(found.train.sizes) == 2 and len(found.val.sizes) == 3
    assert '2 of 20 training images are learned from' in ' '.join(found.notes)
    found = read_data(label_maps(10), tmp_path / 'maps', share=0.5)
    assert len(found.train.sizes) == 4 and len(found.val.sizes) == 2, 'half of the eight for training'
    for share in (0, 1.5):
        with pytest.raises(ValueError, match='share must be above 0 and at most 1'):
            read_data(train, tmp_path, share=share)


def test_objects_of_any_category_as_one_class(coco, label_maps, tmp_path):
    train, val = coco(20, name='instances_train.json'), coco(3, name='instances_val.json')
    found = read_data(train, tmp_path / 'out', share=0.5, class_agnostic=True)
    assert found.classes == ('object',) and "as one, 'object'" in ' '.join(found.notes)
    known = json.loads(train.read_text())['annotations']
    assert len({row['category_id'] for row in known}) > 1
    boxes = {row['id']: row['bbox'] for row in known + json.loads(val.read_text())['annotations']}
    for part, images in ((found.train, 10), (found.val, 3)):
        written = json.loads(part.list_file.read_text())
        assert len(written['images']) == images and len(written['annotations']) >= images
        assert written['categories'] == [dict(id=1, name='object')]
        assert all((r['category_id'], r['bbox']) == (1, boxes[r['id']]) for r in written['annotations'])
    with pytest.raises(ValueError, match='label maps; class_agnostic needs a COCO json'):
        read_data(label_maps(10), tmp_path / 'maps', task='semantic', class_agnostic=True)


def test_masks_and_a_validation_file_beside(coco, tmp_path):
    train, val = (
        coco(5, masks=True, name='instances_train.json'),
        coco(3, masks=True, name='instances_val.json'),
    )
    found = read_data(train, tmp_path / 'out')
    assert found.task == 'instance' and found.val.list_file == val and len(found.val.sizes) == 3
    assert read_data(train, tmp_path / 'out', task='detection').task == 'detection'


def test_polygons_of_two_points_are_left_out_and_said(coco, tmp_path):
    paths = [coco(4, masks=True, name=f'instances_{part}.json') for part in ('train', 'val')]
    for path in paths:
        content = json.loads(path.read_text())
        content['annotations'][0]['segmentation'].append([1, 1, 2, 2])
        content['annotations'][1]['segmentation'] = [[1, 1, 2, 2]]
        content['annotations'][2]['score'] = content['images'][0]['gsd'] = float('nan')  # nobody reads these
        path.write_text(json.dumps(content))
    found = read_data(paths[0], tmp_path / 'out')
    assert found.task == 'instance'
    assert ' '.join(found.notes).count('2 polygons of less than 3 points are left out') == 2
    for part in (found.train, found.val):
        rows = json.loads(part.list_file.read_text())['annotations']
        assert [len(row['segmentation']) for row in rows] == [1] * 3 == [1] * len(part.sides)


@pytest.mark.parametrize('field', ['bbox', 'iscrowd', 'segmentation', 'image_id'])
def test_what_is_read_must_be_a_number(coco, tmp_path, field):
    path = coco(4, masks=True)
    content, nan = json.loads(path.read_text()), float('nan')
    values = dict(bbox=[nan, 0, 1, 1], segmentation=[[nan, 0, 1, 1, 2, 2]])
    content['annotations'][0][field] = values.get(field, nan)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r'annotation 0.*nan'):
        read_data(path, tmp_path / 'out')


def test_some_masks_are_said(coco, tmp_path):
    path = coco(6, masks=True)
    content = json.loads(path.read_text())
    content['annotations'][2]['segmentation'] = []
    content['annotations'][0]['iscrowd'] = 1
    path.write_text(json.dumps(content))
    found = read_data(path, tmp_path / 'out')
    assert found.task == 'detection'
    assert '1 of 6 annotations have no mask' in ' '.join(found.notes)
    with pytest.raises(ValueError, match="1 of 6 annotations have no mask, the first is 2; task 'instance'"):
        read_data(path, tmp_path / 'out', task='instance')


def test_label_maps_are_counted_or_named(label_maps, tmp_path):
    root = label_maps(10)
    found = read_data(root, tmp_path / 'out')
    assert found.classes == ('class_0', 'class_1', 'class_2') and found.suffixes == ('.jpg', '.png')
    lists = [(tmp_path / 'out' / f'densecl-{name}.txt').read_text().split() for name in ('train', 'val')]
    assert [len(names) for names in lists] == [8, 2] and sorted(sum(lists, [])) == sorted(map(str, range(10)))
    (root / 'classes.txt').write_text('ground\nred\nblue\n')
    assert read_data(root, tmp_path / 'out').classes == ('ground', 'red', 'blue')
    meta = dict(classes=['a', 'b', 'c', 'd'], palette=[[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    (root / 'meta.json').write_text(json.dumps(meta))
    found = read_data(root, tmp_path / 'out')
    assert found.classes == ('a', 'b', 'c', 'd') and found.palette[3] == (0, 0, 1)


def test_one_class_is_refused(label_maps, tmp_path):
    root = label_maps(4)
    for path in (root / 'labels').glob('*.png'):
        Image.fromarray(np.zeros((48, 64), 'uint8')).save(path)
    with pytest.raises(ValueError, match='one class is nothing to learn; expected two or more'):
        read_data(root, tmp_path / 'out')


def test_masks_of_0_and_255_are_two_classes(label_maps, tmp_path):
    root, out = label_maps(10), tmp_path / 'out'
    mask = np.arange(48 * 64).reshape(48, 64) % 7 == 0
    maps = sorted((root / 'labels').glob('*.png'))
    for path in maps:
        Image.fromarray(np.where(mask, 255, 0).astype('uint8')).save(path)
    found = read_data(root, out)
    assert found.classes == ('class_0', 'class_1')
    assert f'255 is class 1 (copies in {out / "densecl-labels"})' in ' '.join(found.notes)
    for split, count in ((found.train, 8), (found.val, 2)):
        names = split.list_file.read_text().split()
        assert len(names) == count
        for name in names:
            np.testing.assert_array_equal(np.asarray(Image.open(split.labels / f'{name}.png')), mask)
    assert np.unique(np.asarray(Image.open(maps[0]))).tolist() == [0, 255]  # the user's own are as they were
    (root / 'classes.txt').write_text('sound\ncracked\n')
    assert read_data(root, out).classes == ('sound', 'cracked')
    (root / 'classes.txt').write_text('sound\ncracked\nmissing\n')  # 255 is ignored, as in other maps
    assert read_data(root, out).train.labels == (root / 'labels').resolve()


def test_a_rare_class_is_seen_where_255_is_ignored(label_maps, tmp_path, monkeypatch):
    root = label_maps(4)
    for path in (root / 'labels').glob('*.png'):
        Image.fromarray(np.where(np.arange(48 * 64).reshape(48, 64) % 7, 0, 255).astype('uint8')).save(path)
    held = read_data(root, tmp_path / 'before').val.list_file.read_text().split()
    Image.fromarray(np.ones((48, 64), 'uint8')).save(root / 'labels' / f'{held[0]}.png')
    monkeypatch.setattr('densecl.finetune.label_maps._READ', 1)  # of which the first alone is counted
    found = read_data(root, tmp_path / 'out')
    assert found.classes == ('class_0', 'class_1') and found.train.labels == (root / 'labels').resolve()


def test_area_and_iscrowd_are_added_where_they_are_missing(coco, tmp_path):
    path = coco()
    content = json.loads(path.read_text())
    for row in content['annotations']:
        row.pop('area', None), row.pop('iscrowd', None)
    path.write_text(json.dumps(content))
    found = read_data(path, tmp_path / 'out', val=path)
    count = len(content['annotations'])
    assert f'{count} annotations get the missing area (of the box) or iscrowd (0)' in ' '.join(found.notes)
    for split in (found.train, found.val):
        for row in json.loads(split.list_file.read_text())['annotations']:
            assert row['iscrowd'] == 0 and row['area'] == row['bbox'][2] * row['bbox'][3]


def test_links_below_the_folders_are_followed(label_maps, tmp_path):
    root = label_maps(6)
    for name in ('images', 'labels'):
        (tmp_path / 'linked' / name).mkdir(parents=True)
        (tmp_path / 'linked' / name / 'part').symlink_to(root / name)
    found = read_data(tmp_path / 'linked', tmp_path)
    assert len(found.train.sizes) + len(found.val.sizes) == 6
    assert all(name.startswith('part/') for name in found.train.list_file.read_text().split())


def test_folders_of_splits(label_maps, tmp_path):
    root = label_maps(4)
    for kind, suffix in (('images', 'jpg'), ('labels', 'png')):
        for number, split in enumerate(('train', 'train', 'val', 'val')):
            (root / kind / split).mkdir(exist_ok=True)
            (root / kind / f'{number}.{suffix}').rename(root / kind / split / f'{number}.{suffix}')
    found = read_data(root, tmp_path / 'out')
    assert found.train.images == root / 'images/train' and found.val.labels == root / 'labels/val'
    assert (tmp_path / 'out/densecl-val.txt').read_text().split() == ['2', '3']


@pytest.mark.parametrize('how', [{}, dict(share=0.5), dict(class_agnostic=True)])
def test_labels_in_the_output_folder_stay(how, coco, tmp_path):
    labels = coco(10, name='train.json')
    before = labels.read_bytes()
    for _ in range(2):
        assert len(read_data(labels, tmp_path, **how).val.sizes) == 2
    assert labels.read_bytes() == before and not (tmp_path / 'val.json').exists()


def test_photos_are_as_large_as_they_are_read(coco, label_maps, tmp_path):
    """A camera that was held upright stores lying pixels; whoever reads them turns them."""
    labels, root = coco(), label_maps()
    turned = Image.Exif()
    turned[0x0112] = 6
    for picture in (tmp_path / 'images/4.jpg', root / 'images/4.jpg'):
        with Image.open(picture) as image:
            image.load()
        image.save(picture, exif=turned)
    line = 'image 4.jpg is 64 x 48 there and 48 x 64 as it is read .1 of 6 differ.: boxes would be misplaced'
    with pytest.raises(ValueError, match=line):
        read_data(labels, tmp_path / 'out')
    with pytest.raises(
        ValueError, match='labels/4.png: .64, 48. pixels, but its image is read with .48, 64.'
    ):
        read_data(root, tmp_path / 'out')
    content = json.loads(labels.read_text())
    content['images'][4] |= dict(width=48, height=64)
    assert (48, 64) in read_data(changed(labels, **content), tmp_path / 'out').train.sizes


@pytest.mark.parametrize('suffix', ['jpg', 'png', 'tif'])
def test_sizes_are_those_of_the_reader(suffix, tmp_path):
    path, turned = tmp_path / f'a.{suffix}', Image.Exif()
    turned[0x0112] = 8
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(path, exif=turned)
    assert size_as_read(path) == load_bands(path, str(path)).pixels.shape[1::-1] == (48, 64)
    assert size_as_read(tmp_path / 'none.jpg') is None


def changed(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return path


def bad_json(coco, label_maps):
    path = coco()
    path.write_text('{"images": [')
    return path


def no_boxes(coco, label_maps):
    return coco(annotations=[dict(id=4, image_id=0, category_id=2)])


def no_such_images(coco, label_maps):
    path = coco()
    images = [{**row, 'file_name': f'x{row["id"]}.jpg'} for row in json.loads(path.read_text())['images']]
    return changed(path, images=images)


def one_missing(coco, label_maps):
    path = coco()
    (path.parent / 'images/3.jpg').unlink()
    return path


def crowds(coco, label_maps):
    path = coco()
    rows = json.loads(path.read_text())['annotations']
    return changed(path, annotations=[{**row, 'iscrowd': 1} for row in rows])


def a_blank(coco, label_maps):
    root = label_maps()
    for name in ('images/2.jpg', 'labels/2.png'):
        (root / name).rename((root / name).with_stem('2 '))
    return root


def empty_folder(coco, label_maps):
    root = label_maps(0)
    return root


def jumping_ids(coco, label_maps):
    return label_maps(ids=(0, 3, 7))


def too_few_names(coco, label_maps):
    root = label_maps()
    (root / 'classes.txt').write_text('ground\nred\n')
    return root


def other_size(coco, label_maps):
    root = label_maps()
    Image.fromarray(np.zeros((10, 10), np.uint8)).save(root / 'labels/2.png')
    return root


def colours(coco, label_maps):
    root = label_maps()
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(root / 'labels/2.png')
    return root


def no_label(coco, label_maps):
    root = label_maps()
    (root / 'labels/2.png').unlink()
    return root


@pytest.mark.parametrize(
    'make, error, message',
    [
        (bad_json, ValueError, r'all.json is not json'),
        (lambda coco, maps: coco(categories=[]), ValueError, r'the list "categories" is missing or empty'),
        (lambda coco, maps: coco(annotations=[]), ValueError, r'the list "annotations" is missing or empty'),
        (no_boxes, ValueError, r"annotation 4 has no 'bbox'; it has \['category_id', 'id', 'image_id'\]"),
        (lambda coco, maps: coco(categories=[dict(id=2, name='blue')]), ValueError,
         r'annotation 1 has category_id 7, not in "categories"'),
        (no_such_images, FileNotFoundError, r'none of its 6 images \(x0.jpg, ...\) is in .*--images FOLDER'),
        (one_missing, FileNotFoundError, r'1 of its images are not in .*images: 3.jpg'),
        (lambda coco, maps: coco(1), ValueError, r'one image cannot be divided'),
        (lambda coco, maps: maps(0).parent, FileNotFoundError, r'no folder .*images; expected images/ and'),
        (crowds, ValueError, r'all.json: of its 6 objects none can be learned: 6 crowds'),
        (a_blank, ValueError, r"images: '2 ' begins or ends with a blank, or has a line break; rename it"),
        (empty_folder, ValueError, r'images: no image in it; expected files that end in'),
        (jumping_ids, ValueError, r'the class ids jump: 0, 3, 7, none has 1, 2, 4, ... \(5 in all\); '),
        (too_few_names, ValueError, r'class id 2, but .*classes.txt names 2 classes from 0'),
        (other_size, ValueError, r'labels/2.png: \(10, 10\) pixels, but its image is read with \(64, 48\)'),
        (colours, ValueError, r'labels/2.png: RGB colours; expected one channel of class ids'),
        (no_label, FileNotFoundError, r'labels: no label map for 2; expected 2.png'),
    ],
)  # fmt: skip
def test_mistakes(make, error, message, coco, label_maps, tmp_path):
    with pytest.raises(error, match=message) as raised:
        read_data(make(coco, label_maps), tmp_path / 'out')
    assert '\n' not in str(raised.value)


def test_wrong_arguments(coco, label_maps, tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere: no such file or folder'):
        read_data(tmp_path / 'nowhere', tmp_path)
    with pytest.raises(ValueError, match="task must be None, 'detection', .* or 'semantic', got 'boxes'"):
        read_data(coco(), tmp_path, task='boxes')
    with pytest.raises(ValueError, match="task 'semantic' needs a folder"):
        read_data(coco(), tmp_path, task='semantic')
    with pytest.raises(ValueError, match="folder of label maps; task 'instance' needs a COCO json"):
        read_data(label_maps(), tmp_path, task='instance')


@pytest.mark.parametrize(
    'data, images, task, counts',
    [
        ('bccd/instances_train.json', None, 'detection', (292, 72)),
        ('detection/annotations/instances_train.json', None, 'instance', (121, 31)),
        ('things', 'detection', 'semantic', (121, 31)),
    ],
)
def test_the_bundled_sample(data, images, task, counts, tmp_path):
    root = sample_root()
    found = read_data(root / data, tmp_path, images=images and root / images)
    assert found.task == task and (len(found.train.sizes), len(found.val.sizes)) == counts
    assert found.train.images != found.val.images or task == 'detection'
