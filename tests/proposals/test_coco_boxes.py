"""COCO jsons of several kinds, and the way back."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from densecl.proposals import CocoBoxes, MissingProposalsError, ProposalStore, coco_reader, write_coco
from densecl.registry import PROPOSALS
from densecl.sample import sample_root
from densecl.structures import Proposals

IMAGES = [
    dict(id=7, file_name='a/x.jpg', height=40, width=60),
    dict(id=3, file_name='b.jpg', height=30, width=30),
]
ANNOTATIONS = [
    dict(id=1, image_id=7, bbox=[1.5, 2.25, 10, 20], iscrowd=0, score=0.5),
    dict(id=2, image_id=7, bbox=[0, 0, 60, 40], iscrowd=1, score=0.7),
    dict(id=3, image_id=7, bbox=[5, 6, 7, 8], score=0.9),
]


def put(path, content):
    path.write_text(json.dumps(content))
    return str(path)


@pytest.fixture
def ann_file(tmp_path):
    return put(tmp_path / 'ann.json', dict(images=IMAGES, annotations=ANNOTATIONS))


def test_boxes_by_file_name(ann_file):
    provider = PROPOSALS.build(dict(type='CocoBoxes', ann_file=ann_file))
    found = pickle.loads(pickle.dumps(provider))(None, 'a/x.jpg')
    assert found.boxes.tolist() == [[1.5, 2.25, 11.5, 22.25], [5, 6, 12, 14]]
    assert found.size == (40, 60) and found.scores.tolist() == [0.5, np.float32(0.9)]
    assert found.masks is None and list(provider) == ['a/x.jpg', 'b.jpg']
    none = provider(None, 'b.jpg')
    assert len(none) == 0 and none.size == (30, 30)


def test_choices(ann_file):
    assert len(CocoBoxes(ann_file, min_score=0.6)['a/x.jpg']) == 1
    assert len(CocoBoxes(ann_file, crowd=True)['a/x.jpg']) == 3
    assert len(CocoBoxes(ann_file, by='name')['some/where/x.jpg']) == 2
    with pytest.raises(MissingProposalsError, match="'x.jpg' is not among the 2 images.*by='name'"):
        CocoBoxes(ann_file)['x.jpg']


def test_results_of_a_detector(tmp_path, ann_file):
    results = [dict(image_id=3, bbox=[1, 2, 3, 4], score=0.25, category_id=1)]
    file = put(tmp_path / 'results.json', results)
    boxes = CocoBoxes(file, images=ann_file)
    assert boxes['b.jpg'].boxes.tolist() == [[1, 2, 4, 6]] and boxes['b.jpg'].scores.tolist() == [0.25]
    assert len(boxes['a/x.jpg']) == 0
    with pytest.raises(ValueError, match='images= must name'):
        CocoBoxes(file)


def test_a_list_of_results_is_not_searched_for_each(tmp_path, ann_file, monkeypatch):
    class Results(list):
        def __contains__(self, item):
            raise AssertionError('a search over all results')

    file = put(tmp_path / 'results.json', [dict(image_id=3, bbox=[1, 2, 3, 4])] * 5)
    content = {path: json.loads(Path(path).read_text()) for path in (ann_file, file)}
    content[file] = Results(content[file])
    monkeypatch.setattr(coco_reader, '_load', lambda path: content[str(path)])
    assert len(CocoBoxes(file, images=ann_file)['b.jpg']) == 5


def test_one_json_an_image_as_sam_writes_them(tmp_path):
    disc = np.hypot(*np.indices((40, 60)) - 20) < 9
    for number in (1, 2):
        code = coco_mask.encode(np.asfortranarray(disc.astype(np.uint8)))
        segmentation = dict(size=[40, 60], counts=code['counts'].decode())
        entry = dict(id=5, bbox=[12, 12, 17, 17], segmentation=segmentation, predicted_iou=0.75)
        image = dict(image_id=number, file_name=f'sa_{number}.jpg', height=40, width=60)
        put(tmp_path / f'sa_{number}.json', dict(image=image, annotations=[entry]))
    found = CocoBoxes(tmp_path, masks=True)['sa_2.jpg']
    assert found.scores.tolist() == [0.75] and found.boxes.tolist() == [[12, 12, 29, 29]]
    assert (coco_mask.decode(found.masks[0]) == disc).all()


def test_masks_of_every_spelling(tmp_path):
    square = np.zeros((30, 30), np.uint8, order='F')
    square[5:15, 10:20] = 1
    code = coco_mask.encode(square)
    polygon = [[10, 5, 20, 5, 20, 15, 10, 15]]
    runs = dict(size=[30, 30], counts=[10 * 30 + 5, *[10, 20] * 9, 10, 10 * 30 + 15])
    text = dict(size=[30, 30], counts=code['counts'].decode())
    annotations = [
        dict(image_id=3, bbox=[10, 5, 10, 10], segmentation=s) for s in (polygon, runs, text)
    ]
    file = put(tmp_path / 'ann.json', dict(images=IMAGES, annotations=annotations))
    masks = CocoBoxes(file, masks=True)['b.jpg'].masks
    assert all((coco_mask.decode(mask) == square).all() for mask in masks) and len(masks) == 3


def test_round_trip_of_a_store(tmp_path):
    rng = np.random.default_rng(0)
    with ProposalStore.write(tmp_path / 'a.props') as writer:
        for number in range(9):
            corner = rng.uniform(0, 50, (number % 4, 2))
            boxes = np.concatenate([corner, corner + rng.uniform(0, 50, corner.shape)], axis=1)
            noise = rng.integers(0, 2, (len(boxes), 110, 100), np.uint8)
            masks = [coco_mask.encode(np.asfortranarray(mask)) for mask in noise]
            scores = rng.uniform(size=len(boxes))
            writer[f'd/ü{number}.jpg'] = Proposals(boxes, (110, 100), scores=scores, masks=masks)
    store = ProposalStore.open(tmp_path / 'a.props')
    write_coco(store, tmp_path / 'out.json')
    back = CocoBoxes(tmp_path / 'out.json', masks=True)
    assert list(back) == list(store)
    for name in store:
        assert (back[name].boxes == store[name].boxes).all() and back[name].size == store[name].size
        if len(store[name]):
            assert (back[name].scores == store[name].scores).all() and back[name].masks == store[name].masks
    write_coco(back, tmp_path / 'again.json')
    assert (tmp_path / 'again.json').read_bytes() == (tmp_path / 'out.json').read_bytes()


def test_ground_truth_of_the_sample():
    file = next((sample_root() / 'detection').rglob('*val*.json'))
    content = json.loads(file.read_text())
    boxes = CocoBoxes(file, masks=True)
    for image in content['images'][:20]:
        wanted = [a for a in content['annotations'] if a['image_id'] == image['id'] and not a['iscrowd']]
        found = boxes[image['file_name']]
        expected = [[x, y, x + w, y + h] for x, y, w, h in (a['bbox'] for a in wanted)]
        np.testing.assert_allclose(found.boxes, np.float32(expected).reshape(-1, 4), rtol=1e-6)
        areas = [coco_mask.area(mask) for mask in found.masks or []]
        np.testing.assert_allclose(areas, [a['area'] for a in wanted], rtol=0.15, atol=40)


def test_errors_name_file_and_entry(tmp_path):
    def opened(content):
        return CocoBoxes(put(tmp_path / 'bad.json', content))

    good = ANNOTATIONS[0]
    with pytest.raises(ValueError, match=r"bad\.json, annotation 1 has no 'bbox'; it has \['image_id'\]"):
        opened(dict(images=IMAGES, annotations=[good, dict(image_id=7)]))
    with pytest.raises(ValueError, match='annotation 0 is of image_id 8, which is not listed'):
        opened(dict(images=IMAGES, annotations=[dict(good, image_id=8)]))
    with pytest.raises(ValueError, match="image 0 has no 'height'"):
        opened(dict(images=[dict(id=1, file_name='a')], annotations=[]))
    with pytest.raises(ValueError, match=r'bbox must be \[x, y, width, height\], got \[1, 2\]'):
        opened(dict(images=IMAGES, annotations=[dict(good, bbox=[1, 2])]))
    (tmp_path / 'no.json').write_text('{"images": ')
    with pytest.raises(ValueError, match=r'no\.json is not json'):
        CocoBoxes(tmp_path / 'no.json')
    one = put(tmp_path / '1.json', dict(images=IMAGES, annotations=[]))
    two = put(tmp_path / '2.json', dict(images=[dict(IMAGES[1], file_name='c.jpg')], annotations=[]))
    with pytest.raises(ValueError, match='image id 3 is c.jpg in .*2.json, but b.jpg in a file before'):
        CocoBoxes([one, two])
    two = put(tmp_path / '2.json', dict(images=[dict(IMAGES[1], id=4)], annotations=[]))
    for options in (dict(ann_file=[one, two]), dict(ann_file=two, images=one)):
        with pytest.raises(ValueError, match="'b.jpg' has image id 4 in .*2.json, but 3 too; give"):
            CocoBoxes(**options)
    both = [dict(IMAGES[0], id=i, file_name=f'{i}/x.jpg') for i in (1, 2)]
    with pytest.raises(ValueError, match="by='name' confuses '1/x.jpg' and '2/x.jpg'"):
        CocoBoxes(put(tmp_path / '3.json', dict(images=both, annotations=[])), by='name')


@pytest.mark.parametrize(
    'segmentation',
    [[], None, [[1, 2, 3, 4]], [[0, 0, 5, 0, 5, 5], [1, 2, 3, 4]], [1, 2, 3, 4, 5, 6], dict(size=[40, 60])],
)
def test_what_is_no_segmentation_is_named(tmp_path, segmentation):
    entries = [dict(ANNOTATIONS[0], segmentation=[[0, 0, 5, 0, 5, 5]]), dict(ANNOTATIONS[2])]
    entries[1]['segmentation'] = segmentation
    file = put(tmp_path / 'bad.json', dict(images=IMAGES, annotations=entries))
    with pytest.raises(ValueError, match=r'bad\.json, annotation 1: segmentation must be polygons .* got'):
        CocoBoxes(file, masks=True)
    assert len(CocoBoxes(file)['a/x.jpg']) == 2
