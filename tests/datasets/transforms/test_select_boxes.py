"""The objects of an image through its views: identity, jitter, cutout, determinism."""

import numpy as np
import pytest
import torch

from densecl.datasets.transforms import WHOLE_IMAGE, MultiView, SelectBoxes
from densecl.datasets.transforms.drawn import Crop, DrawnView
from densecl.structures import Proposals, Views, view_to_image

HEIGHT, WIDTH = 150, 210
VIEWS = [
    {'size': 64, 'scale': None},
    {'size': 64, 'scale': (0.3, 1.0), 'photometric': {'blur_prob': 0.5}},
    {'size': (32, 40), 'scale': (0.3, 1.0)},
    {'size': 32, 'crop_of': 1},
]


def random_boxes(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    near = rng.uniform(0, [WIDTH - 20, HEIGHT - 20], (count, 2))
    return np.concatenate([near, near + rng.uniform(5, [WIDTH, HEIGHT] - near)], 1)


def make(boxes, seed=0, recipes=VIEWS, ids=None, **options):
    transform = MultiView(recipes, regions={'objects': {'type': 'SelectBoxes', **options}})
    image = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    proposals = Proposals(boxes, (HEIGHT, WIDTH), ids)
    return transform({'image': image, 'rng': np.random.default_rng(seed), 'proposals': proposals})


def views_at(*crops):
    return [DrawnView(Crop(crop, (20, 20), False)) for crop in crops]


def choose(select, boxes, seed, views):
    image, proposals = np.zeros((HEIGHT, WIDTH, 3), np.uint8), Proposals(boxes, (HEIGHT, WIDTH))
    results = {'image': image, 'rng': np.random.default_rng(seed), 'proposals': proposals}
    return select.choose(results, lambda: views)


def in_image(sample, v):
    """The boxes of a view, taken back to the image, (K, 4) float64."""
    size = sample.images[v].shape[:2]
    ends = sample.regions['objects'][v].boxes.double().view(1, -1, 2)
    crop, flip = sample.boxes[v : v + 1].double(), sample.flipped[v : v + 1]
    back = view_to_image(ends, crop, flip, size).view(-1, 2, 2)
    return torch.cat([back.amin(1), back.amax(1)], 1)


def cut_to(boxes, crop):
    near, far = crop[:2].repeat(2), crop[2:].repeat(2)
    return torch.minimum(torch.maximum(boxes, near), far)


def same(a, b):
    pairs = zip([*a.images, *tensors(a)], [*b.images, *tensors(b)], strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def tensors(sample):
    parts = [x for p in sample.regions['objects'] for x in (p.boxes, p.ids)]
    return [sample.boxes, sample.flipped, *parts, *(c for c in sample.cutouts or [] if c is not None)]


def test_a_box_is_the_part_of_its_object_that_the_view_shows():
    boxes, ids = random_boxes(9), np.arange(100, 109)
    objects = dict(zip(ids.tolist(), torch.from_numpy(boxes).float().double(), strict=True))
    flips, pairs = 0, 0
    for seed in range(100):
        sample = make(boxes, seed, ids=ids)
        reference = sample.regions['objects'][0].ids
        assert reference.shape == (4,) and len(set(reference.tolist())) >= 2
        for v, placed in enumerate(sample.regions['objects']):
            assert placed.boxes.dtype == torch.float32 and placed.masks is None
            assert torch.equal(placed.ids, reference)
            if v == 0:  # jittered
                continue
            flips += int(sample.flipped[v])
            truth = torch.stack([objects[i] for i in placed.ids.tolist()])
            expected = cut_to(truth, sample.boxes[v].double())
            torch.testing.assert_close(in_image(sample, v), expected, rtol=0, atol=1e-3)
            assert ((expected[:, 2:] - expected[:, :2]) > 0).all()
            pairs += len(expected)
    assert pairs == 100 * 3 * 4 and 100 < flips < 200


@pytest.mark.parametrize('prob', [0.0, 0.5, 1.0])
def test_jitter_moves_and_stretches_by_shares_of_the_box(prob):
    # objects in the middle, so that the image's border cuts nothing
    boxes = 0.25 * np.array([WIDTH, HEIGHT] * 2) + random_boxes(6) * 0.5
    select = SelectBoxes(count=8, jitter=0.1, jitter_prob=prob)
    moved, changes = 0, []
    for seed in range(150):
        placed = choose(select, boxes, seed, views_at((0, 0, WIDTH, HEIGHT))).regions[0]
        own = torch.from_numpy(boxes)[placed.ids]
        scale = torch.tensor([WIDTH / 20, HEIGHT / 20] * 2)  # the view has 20 x 20 pixels
        found, sides = placed.boxes * scale, own[:, 2:] - own[:, :2]
        shift = (found[:, :2] - own[:, :2]) / sides
        stretch = (found[:, 2:] - found[:, :2]) / sides - 1
        change = torch.cat([shift, stretch], 1)
        jittered = change.abs().amax(1) > 1e-4
        moved += int(jittered.sum())
        changes.append(change[jittered])
    assert abs(moved / 1200 - prob) < 0.06
    changes = torch.cat(changes)
    if prob:  # even in [-0.1, 0.1], all four alike
        assert changes.abs().max() <= 0.1 + 1e-4
        assert (changes.mean(0).abs() < 0.01).all()
        assert ((changes.std(0) - 0.2 / 12**0.5).abs() < 0.004).all()


def test_jitter_of_a_box_at_the_border_of_a_crop_never_loses_it():
    views = [{'size': 32, 'scale': (0.1, 0.3), 'count': 2}]
    for seed in range(50):
        sample = make(random_boxes(30), seed, views, jitter=0.9, jitter_prob=1.0, jitter_views=(0, 1))
        for placed in sample.regions['objects']:
            assert (placed.boxes[:, 2:] > placed.boxes[:, :2]).all() and (placed.ids >= 0).all()
            assert placed.boxes.min() >= 0 and placed.boxes.max() <= 32


@pytest.mark.parametrize('count', [1, 3, 4, 16])
@pytest.mark.parametrize('available', [0, 1, 2, 5])
def test_there_are_always_k_objects(count, available):
    boxes = random_boxes(available)
    for seed in range(8):
        sample = make(boxes, seed, count=count)
        first = sample.regions['objects'][0].ids.tolist()
        for placed in sample.regions['objects']:
            assert placed.boxes.shape == (count, 4) and placed.ids.tolist() == first
            assert (placed.boxes[:, 2:] > placed.boxes[:, :2]).all()
        near = np.maximum(boxes[:, None, :2], sample.boxes[:, :2].numpy())
        far = np.minimum(boxes[:, None, 2:], sample.boxes[:, 2:].numpy())
        common = set(np.flatnonzero((far > near).all((1, 2))))
        assert set(first) <= common if common else set(first) == {WHOLE_IMAGE}
        assert len(set(first)) == max(min(len(common), count), 1)  # none twice before each came once


def test_without_objects_the_whole_image_is_the_object():
    sample = make(np.zeros((0, 4)), jitter_prob=0.0)
    for v, placed in enumerate(sample.regions['objects']):
        height, width = sample.images[v].shape[:2]
        assert placed.boxes.tolist() == [[0, 0, width, height]] * 4
        assert placed.ids.tolist() == [WHOLE_IMAGE] * 4


def test_the_first_draw_that_is_enough_gives_the_views_of_no_objects():
    """Choosing objects comes after the views: with a generator of the same seed they are the same."""
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    for seed in range(20):
        plain = MultiView(VIEWS)({'image': image, 'rng': np.random.default_rng(seed)})
        results = {'image': image, 'rng': np.random.default_rng(seed)}
        whole = Proposals([[0, 0, WIDTH, HEIGHT]] * 4, (HEIGHT, WIDTH))
        select = MultiView(VIEWS, regions={'objects': {'type': 'SelectBoxes'}})
        chosen = select(results | {'proposals': whole})
        assert plain.regions == {} and plain.cutouts is None
        assert torch.equal(plain.boxes, chosen.boxes) and torch.equal(plain.flipped, chosen.flipped)
        assert all(map(torch.equal, plain.images, chosen.images))


def test_every_object_comes_equally_often():
    counts, view = torch.zeros(8), views_at((0, 0, 100, 100))
    for seed in range(600):
        found = choose(SelectBoxes(), np.array([[5, 5, 200, 145]] * 8), seed, view)
        counts += torch.bincount(found.regions[0].ids, minlength=8)
    assert counts.sum() == 2400 and (counts - 300).abs().max() < 4.5 * (600 / 4) ** 0.5


def test_objects_outside_a_view_that_does_not_count_are_marked():
    views = [{'size': 32, 'scale': None}, {'size': 16, 'scale': (0.01, 0.05), 'flip': 0.0}]
    seen = {True: 0, False: 0}
    for seed in range(40):
        sample = make(random_boxes(20), seed, views, views=(0,))
        first, second = sample.regions['objects']
        assert (first.ids >= 0).all()
        area = (second.boxes[:, 2:] - second.boxes[:, :2]).prod(1)
        shown = area > 0
        assert torch.equal(second.ids[shown], first.ids[shown]) and (second.ids[~shown] == -1).all()
        seen[True] += int(shown.sum())
        seen[False] += int((~shown).sum())
    assert min(seen.values()) > 20


def test_cutouts_lie_in_their_boxes_and_have_their_share():
    shares, squares = [], 0
    for seed in range(80):
        sample = make(random_boxes(9), seed, cutout={'views': (1, 2), 'area': (0.1, 0.3)})
        assert sample.cutouts[0] is None and sample.cutouts[3] is None
        for v in (1, 2):
            boxes, cut = sample.regions['objects'][v].boxes, sample.cutouts[v]
            assert cut.shape == (4, 4) and cut.dtype == torch.float32
            sides, box = cut[:, 2:] - cut[:, :2], boxes[:, 2:] - boxes[:, :2]
            made = sides.prod(1) > 0
            assert (cut[made, :2] >= boxes[made, :2] - 1e-4).all()
            assert (cut[made, 2:] <= boxes[made, 2:] + 1e-4).all()
            assert (sides[~made] == 0).all()
            shares.append((sides.prod(1) / box.prod(1))[made & (box.amin(1) > 1)])
            fits = made & (box.amin(1) >= (0.3 * box.prod(1)).sqrt())
            assert torch.allclose(sides[fits, 0], sides[fits, 1], atol=1e-4)
            squares += int(fits.sum())
    shares = torch.cat(shares)
    assert abs(len(shares) / 640 - 0.5) < 0.08 and squares > 150
    assert shares.min() > 0.0999 and shares.max() < 0.3001 and abs(shares.mean() - 0.2) < 0.015


def test_everything_follows_from_the_generator():
    options = {'cutout': {'views': (1, 2)}}
    first, other, again = (make(random_boxes(9), seed, **options) for seed in (1, 2, 1))
    assert same(first, again) and not same(first, other)


def test_an_image_at_another_size_has_the_same_view_boxes():
    plain = make(random_boxes(9), 3)
    transform = MultiView(VIEWS, regions={'objects': {'type': 'SelectBoxes'}})
    image = np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    results = {'image': image, 'rng': np.random.default_rng(3), 'source_size': (300, 420)}
    reduced = transform(results | {'proposals': Proposals(random_boxes(9), (HEIGHT, WIDTH))})
    torch.testing.assert_close(reduced.boxes, plain.boxes * 2)
    for a, b in zip(plain.regions['objects'], reduced.regions['objects'], strict=True):
        assert torch.equal(a.boxes, b.boxes) and torch.equal(a.ids, b.ids)


def test_a_batch_of_samples():
    views = Views.collate([make(random_boxes(n), n, cutout={}) for n in range(5)])
    assert [tuple(p.boxes.shape) for p in views.regions['objects']] == [(5, 4, 4)] * 4
    assert [None if c is None else tuple(c.shape) for c in views.cutouts] == [
        None,
        (5, 4, 4),
        (5, 4, 4),
        None,
    ]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'count': 0}, 'count must be at least 1, got 0'),
        ({'tries': 0}, 'tries must be at least 1'),
        ({'jitter': 1.0}, r'jitter must be in \[0, 1\)'),
        ({'jitter_prob': 2}, r'jitter_prob in \[0, 1\]'),
        ({'cutout': {'prop': 1}}, 'cutout.prop: Cutout does not take this; did you mean prob'),
        ({'cutout': {'area': (0.0, 0.3)}}, r'cutout: .* got 0.5 and \(0.0, 0.3\)'),
        ({'jitter_views': (4,)}, r'jitter_views=\(4,\), but the views are 0 .. 3'),
        ({'cutout': {'views': (1, 7)}}, r'cutout.views=\(1, 7\)'),
        ({'views': (0, 9)}, r'views=\(0, 9\)'),
        ({'views': ()}, 'views must name at least one view'),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        make(random_boxes(4), **options)


def test_missing_proposals_are_named():
    transform = MultiView(VIEWS, regions={'objects': {'type': 'SelectBoxes'}})
    image = np.zeros((40, 40, 3), np.uint8)
    with pytest.raises(ValueError, match=r'got NoneType; name their provider in PretrainDataset'):
        transform({'image': image, 'rng': np.random.default_rng(0)})
