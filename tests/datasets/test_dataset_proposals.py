"""Proposals from a provider into the batch: ids of images, sizes, errors, workers."""

import json
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from densecl.datasets import PretrainDataset, PretrainSampler, SampleKey, collate_views
from densecl.proposals import ProposalStore
from densecl.registry import PROPOSALS
from densecl.structures import Proposals, view_to_image

PIPELINE = [
    {
        'type': 'MultiView',
        'views': [
            {'size': 48, 'scale': None},
            {'size': 48, 'scale': (0.5, 1.0), 'photometric': {'gray_prob': 0.2}},
            {'size': 24, 'scale': (0.5, 1.0)},
        ],
        'regions': {
            'objects': {'type': 'SelectBoxes', 'cutout': {}},
            'overlap': {'type': 'OverlapBoxes', 'count': 3, 'min_size': 4, 'views': (1, 2)},
        },
    }
]


class Marked:
    """Finds the red rectangle that :func:`folder` paints, and remembers what it was asked."""

    def __init__(self, factor: int = 1) -> None:
        self.factor, self.asked = factor, []

    def __call__(self, image, image_id):
        self.asked.append((image.shape, image_id))
        assert image.dtype == np.uint8
        rows, columns = (np.flatnonzero((image[..., 0] > 127).any(axis)) for axis in (1, 0))
        box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) * self.factor
        size = tuple(side * self.factor for side in image.shape[:2])
        return Proposals(box[None], size, ids=[int(image_id.split('/')[-1][:2])])


@pytest.fixture
def folder(tmp_path):
    """Black pictures with a red rectangle of their own, at multiples of 8 pixels."""
    rng = np.random.default_rng(0)
    (tmp_path / 'some').mkdir()
    for i in range(10):
        image = np.zeros((80 + 8 * i, 120, 3), np.uint8)
        (x, y), (w, h) = rng.integers(1, 6, 2) * 8, rng.integers(2, 5, 2) * 8
        image[y : y + h, x : x + w, 0] = 255
        Image.fromarray(image).save(tmp_path / 'some' / f'{i:02d}.jpg', quality=100, subsampling=0)
    return tmp_path


def red(sample):
    """The red rectangle of an original."""
    image = np.asarray(Image.open(sample.path))[..., 0] > 127
    rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def test_results_hold_the_proposals_of_the_image(folder):
    provider = Marked()
    results = PretrainDataset(folder, proposals=provider)[3]
    assert provider.asked == [((104, 120, 3), 'some/03.jpg')]
    assert results['proposals'].size == (104, 120) and results['proposals'].ids.tolist() == [3]
    assert 'proposals' not in PretrainDataset(folder)[3]


@pytest.mark.parametrize('factor', [1, 3])
@pytest.mark.parametrize('min_side', [None, 20])
def test_boxes_are_scaled_to_the_decoded_image(folder, factor, min_side):
    dataset = PretrainDataset(folder, decode_min_side=min_side, pipeline=PIPELINE, proposals=Marked(factor))
    for index in range(10):
        results = dataset._decode(index)
        height, width = results['image'].shape[:2]
        assert (width < 120) == (min_side is not None)
        assert results['proposals'].size == (height, width)
        box = results['proposals'].boxes[0] * 120 / width
        assert np.abs(box - red(dataset[index])).max() < (2 if min_side is None else 120 / width + 2)


def test_the_object_is_red_in_every_view(folder):
    """Where the box of a view lies the picture is red, and nowhere else."""
    dataset = PretrainDataset(folder, pipeline=PIPELINE, proposals=Marked())
    seen = 0
    for key in (SampleKey(e, i) for e in range(4) for i in range(10)):
        sample = dataset[key]
        for v in (1, 2):
            placed = sample.regions['objects'][v]
            if placed.ids[0] != key.index:  # no part of it is in one of the views
                continue
            image = sample.images[v].float().amax(-1)
            x1, y1, x2, y2 = placed.boxes[0].round().int().tolist()
            if min(x2 - x1, y2 - y1) < 3:  # cut off but for a line
                continue
            seen += 1
            inner = torch.zeros_like(image, dtype=torch.bool)
            inner[y1 + 1 : y2 - 1, x1 + 1 : x2 - 1] = True
            outer = torch.ones_like(inner)
            outer[max(y1 - 1, 0) : y2 + 1, max(x1 - 1, 0) : x2 + 1] = False
            assert (image[inner] > 60).all() and (image[outer] < 60).all()
    assert seen > 60


def test_boxes_of_a_reduced_decode_lie_at_the_same_place_of_the_original(folder):
    dataset = PretrainDataset(folder, pipeline=PIPELINE, proposals=Marked(), decode_min_side=20)
    for index in range(10):
        sample = dataset[index]
        size = sample.images[1].shape[:2]
        ends = sample.regions['objects'][1].boxes[:1].view(1, 2, 2)
        back = view_to_image(ends, sample.boxes[1:2], sample.flipped[1:2], size)[0]
        if sample.regions['objects'][1].ids[0] == index:
            found = torch.cat([back.amin(0), back.amax(0)])
            crop = sample.boxes[1]
            truth = torch.tensor(red(sample)).float()
            truth = torch.minimum(torch.maximum(truth, crop[:2].repeat(2)), crop[2:].repeat(2))
            assert (found - truth).abs().max() <= 9  # a decoded pixel is up to 4 x 4


def batches(dataset, workers, epoch=0):
    sampler = PretrainSampler(dataset, seed=1)
    sampler.set_epoch(epoch)
    loader = DataLoader(dataset, 5, sampler=sampler, num_workers=workers, collate_fn=collate_views)
    return [batch['inputs'] for batch in loader]


def tensors(views):
    found = [r for of_views in views.regions.values() for r in of_views if r is not None]
    placed = [x for r in found for x in (r.boxes, r.ids)]
    return [*views.images, *views.boxes, *placed, *(c for c in views.cutouts if c is not None)]


def test_workers_change_nothing(folder):
    provider = {'type': 'RandomBoxes'}
    dataset = PretrainDataset(folder, pipeline=PIPELINE, proposals=provider)
    alone = batches(dataset, 0)
    assert alone[0].regions['objects'][0].boxes.shape == (5, 4, 4)
    copied = pickle.loads(pickle.dumps(dataset))  # what a spawned worker gets
    for again in (batches(dataset, 2), batches(copied, 0)):
        for a, b in zip(alone, again, strict=True):
            assert all(map(torch.equal, tensors(a), tensors(b)))
    other = batches(dataset, 0, epoch=1)
    for name in ('objects', 'overlap'):
        assert not torch.equal(alone[0].regions[name][1].boxes, other[0].regions[name][1].boxes)


def test_replacement_images_have_their_own_objects(folder):
    path = folder / 'some' / '07.jpg'
    path.write_bytes(path.read_bytes()[:300])
    provider = Marked()
    dataset = PretrainDataset(
        folder, pipeline=PIPELINE, proposals=provider, on_error='skip', max_unreadable=1
    )
    sample = dataset[SampleKey(1, 7)]
    assert sample.index != 7 and provider.asked[-1][1] == f'some/{sample.index:02d}.jpg'
    assert len(provider.asked) == 1 and sample.regions['objects'][0].ids[0] in (sample.index, 2**31 - 1)


class Failing:
    """What goes wrong with providers."""

    def __init__(self, answer):
        self.answer = answer

    def __call__(self, image, image_id):
        return self.answer[image_id] if isinstance(self.answer, dict) else self.answer


@pytest.mark.parametrize(
    ('answer', 'message'),
    [
        ({}, r"KeyError: 'some/02.jpg'"),
        (np.zeros((3, 4)), 'it must return Proposals, got ndarray'),
        (Proposals([], (120, 96)), 'of an image of 96 x 120 pixels, which this one of 120 x 96'),
        (Proposals([], (0, 0)), 'of an image of 0 x 0 pixels'),
    ],
)
@pytest.mark.parametrize('on_error', ['raise', 'skip'])
def test_errors_of_a_provider_name_the_image(folder, answer, message, on_error):
    dataset = PretrainDataset(folder, proposals=Failing(answer), on_error=on_error)
    where = r"Failing failed on .*some/02\.jpg \(image id 'some/02\.jpg'\): "
    with pytest.raises(RuntimeError, match=where + '.*' + message):
        dataset[2]


@pytest.mark.parametrize('size', [(192, 240), (48, 60), (193, 240), (32, 40), (96, 120), (97, 121)])
def test_rounded_sizes_of_copies_are_no_error(folder, size):
    provider = Failing(Proposals([[0, 0, size[1], size[0]]], size))
    proposals = PretrainDataset(folder, proposals=provider)[2]['proposals']
    assert proposals.size == (96, 120) and proposals.boxes.tolist() == [[0, 0, 120, 96]]


def test_every_registered_provider_can_be_named(folder):
    for name in ('GridBoxes', 'RandomBoxes'):
        assert name in PROPOSALS
        sample = PretrainDataset(folder, pipeline=PIPELINE, proposals={'type': name})[0]
        assert all(p.boxes.shape == (4, 4) for p in sample.regions['objects'])


def test_masks_keep_the_size_of_their_encoding(folder):
    mask = {'size': [192, 240], 'counts': b'PPg^1'}
    answer = Proposals([[0, 0, 240, 192]], (192, 240), masks=[mask])
    proposals = PretrainDataset(folder, proposals=Failing(answer))[2]['proposals']
    assert proposals.masks == [mask] and proposals.boxes.tolist() == [[0, 0, 120, 96]]
    assert answer.boxes.tolist() == [[0, 0, 240, 192]]  # what the provider keeps stays


def test_a_store_serves_the_images_by_their_ids(folder, tmp_path):
    with ProposalStore.write(tmp_path / 'red.arrow') as writer:
        for i in range(10):
            image = np.asarray(Image.open(folder / 'some' / f'{i:02d}.jpg'))
            writer[f'some/{i:02d}.jpg'] = Marked()(image, f'some/{i:02d}.jpg')
    store = {'type': 'ProposalStore', 'path': str(tmp_path / 'red.arrow')}
    stored, direct = (
        PretrainDataset(folder, pipeline=PIPELINE, proposals=p, decode_min_side=20) for p in (store, Marked())
    )
    for index in range(10):
        one, other = (dataset._decode(index)['proposals'] for dataset in (stored, direct))
        assert one.size == other.size and one.ids.tolist() == [index]
        assert np.abs(one.boxes - other.boxes).max() < 1.5  # found at full and at reduced size


def test_boxes_of_unknown_size_need_the_photo_at_full_size(folder, tmp_path):
    (tmp_path / 'soco.json').write_text(json.dumps({'02': [[40, 40, 19, 19]]}))
    soco = {'type': 'SocoJson', 'ann_file': str(tmp_path / 'soco.json')}
    rules = {'rules': [], 'fallbacks': []}
    for provider in (
        soco,
        {'type': 'Filtered', 'provider': soco, **rules},
        {'type': 'Cached', 'provider': soco, 'folder': str(tmp_path / 'cache')},
        {'type': 'Cached', 'provider': {'type': 'Filtered', 'provider': soco, **rules},
         'folder': str(tmp_path / 'filtered')},
    ):  # fmt: skip
        found = PretrainDataset(folder, proposals=provider)[2]['proposals']
        assert found.boxes.tolist() == [[40, 40, 60, 60]] and found.size == (96, 120)
        message = f'{provider["type"]} fit photos at full size only, but decode_min_side=20 .*--from-soco'
        with pytest.raises(ValueError, match=message):
            PretrainDataset(folder, proposals=provider, decode_min_side=20)
    filtered = {'type': 'Filtered', 'provider': {'type': 'GridBoxes'}}
    assert PretrainDataset(folder, proposals=filtered, decode_min_side=20)[2]['proposals'].size < (96, 120)
