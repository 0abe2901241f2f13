"""Labelled sets of both kinds open, split and refuse as they should; the command prints its figures."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from densecl.cli.probe_report import _names
from densecl.evaluation.labelled import open_labelled, usual_size
from densecl.tools import run_tool

ROOT = Path(__file__).parents[2]
CONFIG = 'configs/quickstart/densecl_resnet18_sample.py'


def write_folder(root, parts=('',), each=20, size=(48, 64), palette=False):
    """Two classes: a bright rectangle (1) on a dark ground (0), with a rim that is ignored."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for part in parts:
        for name in ('images', 'labels'):
            (root / name / part).mkdir(parents=True, exist_ok=True)
        for i in range(each):
            label = np.zeros(size, np.uint8)
            y, x = rng.integers(0, 24), rng.integers(0, 32)
            label[y : y + 24, x : x + 32] = 1
            image = (60 + 120 * label + rng.integers(0, 30, size)).astype(np.uint8)
            label[0] = 255
            cv2.imwrite(str(root / 'images' / part / f'{i}.jpg'), image)
            written = Image.fromarray(label)
            if palette:
                written = written.convert('P')
                written.putpalette([200, 10, 10, 10, 200, 10] * 128)
            written.save(root / 'labels' / part / f'{i}.png')
    return root


def coco(root, count=20):
    """A mask in every image, a box without a mask over it, and a crowd."""
    (root / 'images').mkdir()
    images, objects = [], []
    for i in range(count):
        cv2.imwrite(str(root / 'images' / f'{i}.jpg'), np.full((40, 60), 100, np.uint8))
        images.append(dict(id=100 + i, file_name=f'{i}.jpg', height=40, width=60))
        polygon = [[10, 10, 50, 10, 50, 30, 10, 30]]
        crowd = dict(size=[40, 60], counts=[0, 40 * 5, 40 * 55])  # the five columns at the left
        rows = [
            dict(category_id=7, bbox=[20, 15, 5, 5], segmentation=[]),
            dict(category_id=3, bbox=[10, 10, 40, 20], segmentation=polygon),
            dict(category_id=3, bbox=[0, 0, 5, 40], segmentation=crowd, iscrowd=1),
        ]
        objects += [dict(id=3 * i + j, image_id=100 + i, **row) for j, row in enumerate(rows)]
    categories = [dict(id=7, name='cup'), dict(id=3, name='table')]
    content = dict(images=images, annotations=objects, categories=categories)
    (root / 'instances_all.json').write_text(json.dumps(content))
    return root / 'instances_all.json'


class TestFolder:
    def test_halves_do_not_depend_on_the_folder(self, tmp_path):
        first = open_labelled(write_folder(tmp_path / 'a', palette=True))
        again = open_labelled(write_folder(tmp_path / 'b'))
        names = [{p.name for p in part.images} for part in (first.train, first.test)]
        assert names == [{p.name for p in part.images} for part in (again.train, again.test)]
        assert len(names[0]) == len(names[1]) == 10
        assert not names[0] & names[1]
        assert first.classes == ('0', '1')
        assert 'halves' in first.notes[0]

    def test_named_parts_and_batches(self, tmp_path):
        found = open_labelled(write_folder(tmp_path, ('train', 'val', 'test'), each=12))
        assert {p.parent.name for p in found.train.images} == {'train'}
        assert {p.parent.name for p in found.test.images} == {'test'}
        images, labels = next(found.test.batches((24, 32), 5))
        assert (images.shape, labels.shape) == ((5, 24, 32, 3), (5, 24, 32))
        assert set(labels.unique().tolist()) == {0, 1}  # nearest: no value in between
        bright = images.float().mean(-1)
        assert bright[labels == 1].mean() > bright[labels == 0].mean() + 80
        assert found.use_size() == (48, 64)
        assert usual_size([(48, 64)], short=32) == (32, 48)
        few = found.at_most(3)
        assert [p.name for p in few.test.images] == [found.test.images[i].name for i in (0, 4, 8)]
        assert len(few.train) == 3

    def test_another_path_for_the_test(self, tmp_path):
        train, test = write_folder(tmp_path / 'a'), write_folder(tmp_path / 'b', ('x',), each=6)
        found = open_labelled(train, test)
        assert (len(found.train), len(found.test)) == (20, 6)

    def test_masks_of_0_and_255_are_two_classes(self, tmp_path):
        write_folder(tmp_path)
        for path in (tmp_path / 'labels').iterdir():
            cv2.imwrite(str(path), 255 * (cv2.imread(str(path), 0) == 1).astype(np.uint8))
        found = open_labelled(tmp_path)
        assert set(np.unique(found.train.read(0))) == {0, 1}
        assert any('255 counts as class 1' in note for note in found.notes)
        other = write_folder(tmp_path / 'other')
        for one, two in ((tmp_path, other), (other, tmp_path)):
            with pytest.raises(
                ValueError, match='hold 0 and 255 only, which would count .*: write class ids'
            ):
                open_labelled(one, two)

    def test_two_images_of_one_label_map(self, tmp_path):
        write_folder(tmp_path)
        image = next((tmp_path / 'images').iterdir())
        image.with_suffix('.bmp').write_bytes(b'')
        with pytest.raises(
            ValueError, match=f'images: {image.stem}.* and {image.stem}.* would share one label map'
        ):
            open_labelled(tmp_path)

    def test_what_cannot_be_used_is_named(self, tmp_path):
        with pytest.raises(FileNotFoundError, match='nowhere does not exist'):
            open_labelled(tmp_path / 'nowhere')
        with pytest.raises(ValueError, match='must hold images/ and labels/'):
            open_labelled(tmp_path)
        few = write_folder(tmp_path / 'few', each=12)
        with pytest.raises(ValueError, match='12 labelled images; 20 are needed'):
            open_labelled(few)
        colours = write_folder(tmp_path / 'colours')
        cv2.imwrite(str(colours / 'labels/3.png'), np.zeros((48, 64, 3), np.uint8))
        with pytest.raises(ValueError, match=r'3\.png must be a one-channel PNG'):
            open_labelled(colours)

    def test_an_image_without_a_map_is_told(self, tmp_path):
        write_folder(tmp_path, each=22)
        (tmp_path / 'labels/5.png').unlink()
        assert '1 of 22 images have no label map and are left out' in open_labelled(tmp_path).notes

    def test_sizes_must_agree(self, tmp_path):
        write_folder(tmp_path)
        cv2.imwrite(str(tmp_path / 'images/3.jpg'), np.zeros((48, 48), np.uint8))
        found = open_labelled(tmp_path)
        with pytest.raises(ValueError, match=r'3\.jpg is 48 x 48 pixels, its label map 64 x 48'):
            list(found.train.batches((48, 64))) + list(found.test.batches((48, 64)))


class TestCoco:
    def test_masks_boxes_and_crowds(self, tmp_path):
        found = open_labelled(coco(tmp_path))
        assert found.classes == ('background', 'table', 'cup')
        assert '20 of 60 objects have no mask: their boxes are filled' in found.notes
        wanted = np.zeros((40, 60), np.uint8)
        wanted[:, :5] = 255
        wanted[10:30, 10:50] = 1
        wanted[15:20, 20:25] = 2  # smaller, so on top
        np.testing.assert_array_equal(found.train.read(0), wanted)

    def test_faults_are_named(self, tmp_path):
        path = coco(tmp_path)
        content = json.loads(path.read_text())
        path.write_text(json.dumps(content | dict(annotations=[])))
        with pytest.raises(ValueError, match='"annotations" is empty; there is nothing to measure on'):
            open_labelled(path)
        path.write_text(json.dumps(content))
        (tmp_path / 'images').rename(tmp_path / 'elsewhere')
        with pytest.raises(FileNotFoundError, match=r'image 0\.jpg is in none of'):
            open_labelled(path)
        path.write_text('{"images": []}')
        with pytest.raises(ValueError, match='"images" is empty'):
            open_labelled(path)


def test_command(tmp_path, capsys):
    """A random backbone tells bright from dark; figures are printed and written, pictures drawn."""
    write_folder(tmp_path / 'set', ('train', 'test'), each=12, size=(64, 96))
    out = tmp_path / 'out.json'
    command = (
        f'random --config {ROOT / CONFIG} --labelled {tmp_path / "set"} --level 0 --cells 20 --out {out} '
        f'--pictures {tmp_path / "pictures"}'
    )
    with pytest.raises(SystemExit, match='0'):
        run_tool('probe', command.split())
    said = capsys.readouterr().out
    assert 'memory 12 x 20 cells at most, k 30 at most, temperature 0.02' in said
    assert '12 images to learn from, 12 to score on, 64 x 96 pixels, 2 classes' in said
    found = json.loads(out.read_text())
    for kind in ('linear', 'retrieval'):
        assert f'{kind:<10} mIoU' in said
        assert 42 < found[kind]['mean'] <= 100  # all background: 38
        assert found[kind]['mean'] == pytest.approx(sum(found[kind]['per_class']) / 2)
    pictures = sorted((tmp_path / 'pictures').iterdir())
    images = sorted((tmp_path / 'set/images/test').iterdir())
    assert [p.stem for p in pictures] == [p.stem for p in images]
    assert '12 pictures (truth, linear, retrieval): ' in said
    # In a row; where the probes are right, the colours of the truth.
    tiles = np.split(np.pad(cv2.imread(str(pictures[0])), ((0, 0), (0, 6), (0, 0))).astype(int), 3, axis=1)
    assert tiles[0].shape == (64, 102, 3)
    equal = [(abs(tiles[0] - tile).max(-1) < 3)[:, :96].mean() for tile in tiles[1:]]
    assert min(equal) > 0.5 and max(equal) < 1


def test_of_many_absent_classes_some_are_named():
    classes = tuple(f'c{i}' for i in range(30))
    assert _names((), classes) == 'none' and _names((3, 5), classes) == 'c3, c5'
    assert _names(tuple(range(25)), classes).endswith('c18, c19 and 5 more')
