"""SCRL's boxes: inside the overlap, of the right sizes, apart, at the same place in both views."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from densecl.datasets.transforms import Crop, DrawnView, MultiView, OverlapBoxes
from densecl.datasets.transforms.overlap_boxes import _iou, iou, random_box
from densecl.structures import view_to_image

SIZES = (96, 128), (64, 64)
VIEWS = [{'size': 96, 'count': 2}, {'size': 32}]


def view_of(box, size, flipped=False):
    return DrawnView(Crop(tuple(box), size, flipped))


def draw(select, views, seed=0):
    return select.choose({'rng': np.random.default_rng(seed)}, views)


def in_image(view, boxes):
    """Boxes of a view, taken back to the image, (K, 4) float64."""
    crop, flipped = torch.tensor([view.box]).double(), torch.tensor([view.flipped])
    ends = view_to_image(boxes.double().view(1, -1, 2), crop, flipped, view.size).view(-1, 2, 2)
    return torch.cat([ends.amin(1), ends.amax(1)], 1)


@pytest.fixture(scope='module')
def drawn():
    """400 pairs of views, and the boxes in each of them."""
    rng = np.random.default_rng(0)
    select, found = OverlapBoxes(count=6, min_size=12), []
    for seed in range(400):
        views = []
        for size in SIZES:
            corner, side = rng.integers(0, 120, 2), rng.integers(20, 200, 2)
            box = np.concatenate([corner, corner + side]).tolist()
            views.append(view_of(box, size, bool(rng.random() < 0.5)))
        found.append((views, draw(select, views, seed)))
    return found


def shared(views):
    """The overlap as two corners, and pixels of the view that magnifies least for one of the image."""
    a, b = (torch.tensor(view.box).double() for view in views)
    near, far = torch.maximum(a[:2], b[:2]), torch.minimum(a[2:], b[2:])
    scales = [torch.tensor(s[::-1]) / (box[2:] - box[:2]) for s, box in zip(SIZES, (a, b), strict=True)]
    return near, far, torch.minimum(*scales)


def with_boxes(drawn):
    return [(views, regions) for views, regions in drawn if regions[0].ids[0] >= 0]


def test_which_images_have_boxes(drawn):
    for views, regions in drawn:
        near, far, scale = shared(views)
        enough = bool((far > near).all() and (((far - near) * scale).round() > 12).all())
        ids = list(range(6)) if enough else [-1] * 6
        for view, found in zip(views, regions, strict=True):
            assert found.ids.tolist() == ids and found.masks is None
            assert found.boxes.dtype == torch.float32 and found.boxes.shape == (6, 4)
            if not enough:
                height, width = view.size
                assert found.boxes.tolist() == [[0, 0, width, height]] * 6
    assert 50 < len(with_boxes(drawn)) < 350


def test_the_same_place_in_both_views_inside_both_crops(drawn):
    flips = set()
    for views, regions in with_boxes(drawn):
        near, far, _ = shared(views)
        one, other = (in_image(v, r.boxes) for v, r in zip(views, regions, strict=True))
        torch.testing.assert_close(one, other, rtol=0, atol=1e-3)
        for view, found in zip(views, regions, strict=True):
            height, width = view.size
            assert (found.boxes[:, 2:] > found.boxes[:, :2]).all() and found.boxes.min() >= 0
            assert found.boxes[:, 2].max() <= width and found.boxes[:, 3].max() <= height
            back = in_image(view, found.boxes)
            assert (back[:, :2] >= near - 1e-3).all() and (back[:, 2:] <= far + 1e-3).all()
        flips.add(tuple(view.flipped for view in views))
    assert len(flips) == 4


def test_sides_reach_from_the_least_to_the_overlap(drawn):
    least, most = [], []
    for views, regions in with_boxes(drawn):
        near, far, scale = shared(views)
        boxes = in_image(views[0], regions[0].boxes)
        sides = boxes[:, 2:] - boxes[:, :2]
        least.append((sides * scale).min())
        most.append((sides / (far - near)).max())
    # Up to half a pixel is cut at the border of the overlap.
    assert min(least) >= 11.49 and max(most) > 0.95


def test_boxes_are_apart(drawn):
    found = [in_image(views[0], regions[0].boxes) for views, regions in with_boxes(drawn)]
    overlaps = torch.stack([box_iou(r, r).fill_diagonal_(0).amax() for r in found])
    assert (overlaps <= 0.51).float().mean() > 0.85  # sometimes there is no room, or the border cuts
    assert overlaps.max() < 0.9


def law(side, least):
    """Probability of each (start, end) along an axis, by going through all choices."""
    chances = Counter()
    for parts in range(1, side // least + 1):
        cell = Fraction(side, parts)
        for number in range(parts):
            for length in range(least, int(cell) + 1):
                offsets = int(cell - length) + 1
                for offset in range(offsets):
                    start = int(number * cell) + offset
                    chance = Fraction(1, side // least * parts * (int(cell) - least + 1) * offsets)
                    chances[start, start + length] += chance
    return chances


@pytest.mark.parametrize('together', [False, True])
@pytest.mark.parametrize(('side', 'least'), [((11, 7), 3), ((8, 5), 4)])
def test_the_law_of_a_box(together, side, least):
    """A random grid, a cell of it, a length, a place: against the probability of every box."""
    rng, count = np.random.default_rng(3), 40000
    if together:
        boxes = np.stack(random_box(side, rng.random((2, 4, count)), least), 1)
    else:
        boxes = np.array([random_box(side, rng.random((2, 4)).tolist(), least) for _ in range(count)])
    assert np.array_equal(boxes, boxes.round())
    for axis in (0, 1):
        chances = law(side[axis], least)
        assert sum(chances.values()) == 1 and len(chances) > 2
        counted = Counter(map(tuple, boxes[:, [axis, axis + 2]].astype(int).tolist()))
        assert set(counted) <= set(chances)
        for span, chance in chances.items():
            error = counted[span] - count * float(chance)
            assert abs(error) < 5 * (count * float(chance * (1 - chance))) ** 0.5 + 1e-9, span


def test_grid_of_the_overlap():
    """Boxes of one cell's least size: the grid puts them everywhere, not at the middle only."""
    views, select = [view_of((0, 0, 64, 64), (64, 64))] * 2, OverlapBoxes(count=1, min_size=32)
    boxes = torch.cat([draw(select, views, seed)[0].boxes for seed in range(500)])
    assert torch.equal(boxes, boxes.round())  # whole pixels
    widths = boxes[:, 2] - boxes[:, 0]
    assert widths.min() == 32 and widths.max() >= 62
    assert {0.0, 32.0} <= set(boxes[widths == 32, 0].tolist())


class Given:
    """A generator that gives the draws of the boxes that are wanted, in an overlap of 40 x 40."""

    def __init__(self, corners):
        # One cell; the least length, 10; the place along each axis.
        self.draws = [[[0.0, 0.0, 0.0, (c + 0.5) / 31] for c in corner] for corner in corners]
        self.asked = 0

    def random(self, shape):
        count = 1 if len(shape) == 2 else shape[2]
        self.draws, found = self.draws[count:], np.array(self.draws[:count])
        self.asked += count
        assert len(found) == count
        return found[0] if len(shape) == 2 else np.moveaxis(found, 0, -1)


@pytest.mark.parametrize(
    ('corners', 'taken', 'asked'),
    [
        ([(1, 0), (20, 0), (2, 0)], 1, 2),  # the first that is apart
        ([(1, 0), (3, 0), (2, 0)], 1, 3),  # none is: the least overlapping
        ([(1, 0)] * 8 + [(2, 0), (20, 0), (30, 0), (0, 0)], 9, 12),  # in the draws that are made together
        ([(1, 0)] * 8 + [(2, 0), (3, 0), (1, 0), (0, 0)], 9, 12),
        ([(1, 0)] * 5 + [(3, 0)] + [(1, 0)] * 2 + [(2, 0)] * 4, 5, 12),  # the best was among the first
    ],
)
def test_first_try_that_is_apart_else_the_least_overlapping(corners, taken, asked):
    rng = Given([(0, 0), *corners])
    select = OverlapBoxes(count=2, min_size=10, max_iou=0.5, tries=len(corners))
    views = [view_of((0, 0, 40, 40), (40, 40))] * 2
    found = select.choose({'rng': rng}, views)[0].boxes
    x, y = corners[taken]
    assert found.tolist() == [[0, 0, 10, 10], [x, y, x + 10, y + 10]] and rng.asked == 1 + asked


def test_iou_is_torchvisions():
    rng = np.random.default_rng(3)
    a, b = (np.concatenate([c := rng.random((7, 2)), c + rng.random((7, 2))], 1) for _ in range(2))
    np.testing.assert_allclose(iou(a, b), box_iou(torch.from_numpy(a), torch.from_numpy(b)))
    one_by_one = [_iou(x, y) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    assert one_by_one == pytest.approx(np.diag(iou(a, b)))


def made(seed, **options):
    image = np.random.default_rng(0).integers(0, 256, (150, 210, 3), dtype=np.uint8)
    results = {'image': image, 'rng': np.random.default_rng(seed)}
    return MultiView(VIEWS, **options)(results)


def test_everything_follows_from_the_generator_and_views_stay_as_they_were():
    options = {'regions': {'overlap': {'type': 'OverlapBoxes', 'count': 4, 'min_size': 16}}}
    seen = 0
    for seed in range(10):
        first, again, plain = made(seed, **options), made(seed, **options), made(seed)
        a, b = first.regions['overlap'], again.regions['overlap']
        assert a[2] is None and b[2] is None
        for v in (0, 1):
            assert torch.equal(a[v].boxes, b[v].boxes) and torch.equal(a[v].ids, b[v].ids)
        assert all(map(torch.equal, first.images, plain.images))
        assert torch.equal(first.boxes, plain.boxes) and torch.equal(first.flipped, plain.flipped)
        other = made(seed + 1, **options).regions['overlap']
        assert not torch.equal(a[0].boxes, other[0].boxes)
        seen += int(a[0].ids[0] == 0)
    assert seen > 5


def test_any_two_views():
    wide, tall = view_of((0, 0, 80, 40), (20, 40)), view_of((0, 0, 80, 40), (64, 64), True)
    none, first, second = draw(OverlapBoxes(count=3, min_size=5, views=(2, 1)), [wide, tall, wide])
    assert none is None and first.ids.tolist() == second.ids.tolist() == [0, 1, 2]
    one, other = in_image(tall, first.boxes), in_image(wide, second.boxes)
    torch.testing.assert_close(one, other, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'count': 0}, 'count must be at least 1, got 0'),
        ({'min_size': 0}, 'min_size must be at least 1'),
        ({'tries': 0}, 'tries must be at least 1'),
        ({'max_iou': 0}, 'max_iou must be above 0 and at most 1, got 0'),
        ({'views': (1, 1)}, r'two different views, got \(1, 1\)'),
        ({'views': (0, 1, 2)}, r'views: OverlapBoxes takes tuple\[int, int\], got \(0, 1, 2\)'),
        ({'views': (0, 7)}, r'OverlapBoxes: views=\(0, 7\), but the views are 0 .. 2'),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        made(0, regions={'overlap': {'type': 'OverlapBoxes', **options}})
