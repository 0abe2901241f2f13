"""Masks on grids: label maps against COCO's decoder, cells against counting, what is drawn."""

import numpy as np
import pytest
import torch
from pycocotools import mask as coco

from densecl.datasets.transforms import WHOLE_IMAGE, Crop, DrawnView, LargestMasks, MultiView, SelectMasks
from densecl.datasets.transforms.label_map import label_map
from densecl.datasets.transforms.select_masks import cell_shares
from densecl.structures import Proposals

CROP = dict(size=48, scale=(0.3, 1.0))


def segments(seed=0, size=(60, 80), count=7):
    """A Voronoi diagram: a label for each pixel."""
    rng = np.random.default_rng(seed)
    seeds = rng.random((count, 2)) * size
    places = np.stack(np.mgrid[: size[0], : size[1]], -1)[:, :, None]
    return np.square(places - seeds).sum(-1).argmin(-1)


def encoded(masks):
    return [coco.encode(np.asfortranarray(m, np.uint8)) for m in masks]


def proposals_of(labels, ids=None):
    masks = [labels == i for i in range(labels.max() + 1)]
    boxes = []
    for mask in masks:
        rows, columns = np.nonzero(mask)
        boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    return Proposals(boxes, labels.shape, ids=ids, masks=encoded(masks))


def results_of(proposals, size=(60, 80), seed=0):
    image = np.random.default_rng(1).integers(0, 255, (*size, 3), np.uint8)
    return dict(image=image, rng=np.random.default_rng(seed), proposals=proposals)


@pytest.mark.parametrize('size', [(60, 80), (1, 5), (300, 1)])
def test_label_map_is_that_of_the_decoded_masks(size):
    labels = segments(size=size)
    masks = encoded([labels == i for i in range(7)])
    assert (label_map(masks) == labels).all()
    assert (label_map([dict(m, counts=m['counts'].decode()) for m in masks]) == labels).all()
    some = label_map(masks[2:4])
    assert (some == np.select([labels == 2, labels == 3], [0, 1], -1)).all()
    assert (label_map(encoded([np.zeros(size)])) == -1).all()
    assert (label_map(encoded([np.ones(size)])) == 0).all()


def test_noise_and_uncompressed_masks():
    """Long lists of short runs, with differences of either sign."""
    mask = np.random.default_rng(0).random((70, 90)) < np.linspace(0, 1, 90)
    assert (label_map(encoded([mask])) == mask - 1).all()
    plain = dict(size=[2, 3], counts=[0, 1, 2, 2, 1])  # down the columns: 1 0 | 0 1 | 1 0
    assert label_map([plain]).tolist() == [[0, -1, 0], [-1, 0, -1]]


def test_the_smaller_mask_wins_where_masks_overlap():
    small, large = np.zeros((2, 20, 30), bool)
    small[5:10, 4:9] = large[2:18, 2:20] = True
    want = np.where(small, 1, np.where(large, 0, -1))
    assert (label_map(encoded([large, small])) == want).all()
    want = np.where(small, 0, np.where(large, 1, -1))
    assert (label_map(encoded([small, large])) == want).all()


@pytest.mark.parametrize('flipped', [False, True])
@pytest.mark.parametrize('size, grid', [((48, 48), (6, 6)), ((50, 33), (7, 3))])
def test_shares_are_counted_pixel_by_pixel(size, grid, flipped):
    labels, box = segments(), (13, 7, 66, 55)
    got = cell_shares(labels, box, flipped, size, grid, 7)
    want = np.zeros((7, *grid))
    for i in range(size[0]):
        for j in range(size[1]):
            x = box[0] + (j + 0.5) / size[1] * (box[2] - box[0])
            y = box[1] + (i + 0.5) / size[0] * (box[3] - box[1])
            column = size[1] - 1 - j if flipped else j
            want[labels[int(y), int(x)], i * grid[0] // size[0], column * grid[1] // size[1]] += 1
    want /= want.sum(0)
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_a_mirrored_view_has_mirrored_cells():
    labels = segments()
    plain = cell_shares(labels, (10, 5, 70, 53), False, (48, 48), (6, 6), 7)
    mirrored = cell_shares(labels, (10, 5, 70, 53), True, (48, 48), (6, 6), 7)
    assert (mirrored == plain[:, :, ::-1]).all()


def test_hard_masks_are_the_largest_shares_of_the_masks_present():
    labels = segments()
    ids = np.array([10, 3, 77, 5, 6, 8, 2])
    results = results_of(proposals_of(labels, ids))
    select = dict(type='SelectMasks', count=40, grid=6)
    sample = MultiView(views=[dict(CROP, count=2)], regions=dict(masks=select))(results)
    for v in (0, 1):
        box, found = sample.boxes[v].tolist(), sample.regions['masks'][v]
        best = cell_shares(labels, box, bool(sample.flipped[v]), (48, 48), (6, 6), 7).argmax(0)
        assert set(found.ids.tolist()) == set(ids[np.unique(best)].tolist())
        for number, mask in zip(found.ids.tolist(), found.masks, strict=True):
            assert (mask.numpy() == (ids[best] == number)).all()
        assert found.masks.dtype == torch.float32 and found.ids.dtype == torch.int64


def test_soft_masks_have_their_shares():
    labels = segments()
    results = results_of(proposals_of(labels))
    drawn = [DrawnView(Crop((0, 0, 80, 60), (48, 48), False))]
    (found,) = SelectMasks(count=60, grid=4, hard=False).choose(results, drawn)
    shares = torch.from_numpy(cell_shares(labels, (0, 0, 80, 60), False, (48, 48), (4, 4), 7))
    assert set(found.ids.tolist()) == set(range(7))
    torch.testing.assert_close(found.masks, shares[found.ids])
    torch.testing.assert_close(shares.sum(0), torch.ones(4, 4))


def test_boxes_lie_in_the_view():
    """The whole image as the view: boxes are scaled, and mirrored with it."""
    proposals = proposals_of(segments())
    drawn = [DrawnView(Crop((0, 0, 80, 60), (120, 160), f)) for f in (False, True)]
    plain, mirrored = SelectMasks(grid=6).choose(results_of(proposals), drawn)
    want = torch.from_numpy(proposals.boxes) * 2
    torch.testing.assert_close(plain.boxes, want[plain.ids])
    want = torch.stack([160 - want[:, 2], want[:, 1], 160 - want[:, 0], want[:, 3]], 1)
    torch.testing.assert_close(mirrored.boxes, want[mirrored.ids])


def test_masks_are_drawn_uniformly_with_replacement():
    """Two masks of 3 : 1 area: each is drawn half of the time, and by each view for itself."""
    labels = np.zeros((60, 80), int)
    labels[:, 60:] = 1
    drawn = [DrawnView(Crop((0, 0, 80, 60), (48, 48), False))] * 2
    results = results_of(proposals_of(labels))
    first, second = SelectMasks(count=4000, grid=4).choose(results, drawn)
    assert first.ids.float().mean().item() == pytest.approx(0.5, abs=0.03)
    assert (first.ids == second.ids).float().mean().item() == pytest.approx(0.5, abs=0.03)


def test_masks_may_be_of_the_original_size():
    """An image that was decoded at half its size: the boxes are scaled, the masks are not."""
    large = segments(size=(120, 160))
    whole, half = proposals_of(large), proposals_of(large)
    half.boxes, half.size = half.boxes / 2, (60, 80)
    views = [DrawnView(Crop(box, (48, 48), True)) for box in [(20, 10, 70, 50)]]
    twice = [DrawnView(Crop(tuple(2 * x for x in view.box), (48, 48), True)) for view in views]
    (a,) = SelectMasks(grid=6).choose(results_of(half), views)
    (b,) = SelectMasks(grid=6).choose(results_of(whole, (120, 160)), twice)
    assert torch.equal(a.ids, b.ids) and torch.equal(a.masks, b.masks)
    torch.testing.assert_close(a.boxes, b.boxes)


@pytest.mark.parametrize('hard', [False, True])
def test_without_masks_the_whole_image_is_one(hard):
    results = results_of(Proposals(np.zeros((0, 4)), (60, 80), masks=[]))
    sample = MultiView(
        views=[dict(CROP, count=2)], regions=dict(masks=dict(type='SelectMasks', count=3, grid=6, hard=hard))
    )(results)
    for found in sample.regions['masks']:
        assert found.ids.tolist() == [WHOLE_IMAGE] * 3 and (found.masks == 1).all()
        assert found.boxes.tolist() == [[0, 0, 48, 48]] * 3


def test_what_no_mask_covers_is_never_drawn():
    mask = np.zeros((60, 80), bool)
    mask[:30, :40] = True
    proposals = Proposals([[0, 0, 40, 30]], (60, 80), masks=encoded([mask]))
    boxes = [(0, 0, 80, 60), (40, 30, 80, 60)]
    drawn = [DrawnView(Crop(box, (48, 48), False)) for box in boxes]
    some, none = SelectMasks(count=5, grid=4).choose(results_of(proposals), drawn)
    assert some.ids.tolist() == [0] * 5 and some.masks.sum((1, 2)).tolist() == [4] * 5
    assert none.ids.tolist() == [WHOLE_IMAGE] * 5 and (none.masks == 1).all()


def test_the_same_generator_gives_the_same_masks():
    transform = MultiView(views=[dict(CROP, count=2)], regions=dict(masks=dict(type='SelectMasks', grid=6)))
    proposals = proposals_of(segments())
    first, again, other = (transform(results_of(proposals, seed=s)).regions['masks'] for s in (3, 3, 4))
    assert all(torch.equal(a.masks, b.masks) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0].ids, other[0].ids)


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match='boxes alone; take a provider of masks'):
        MultiView(views=[CROP], regions=dict(masks=dict(type='SelectMasks')))(
            results_of(Proposals([[0, 0, 9, 9]], (60, 80)))
        )
    with pytest.raises(ValueError, match="needs results\\['proposals'\\]"):
        MultiView(views=[CROP], regions=dict(masks=dict(type='SelectMasks')))(results_of(None))
    for grid in ((49, 2), (2, 49)):
        for proposals in (proposals_of(segments()), Proposals([], (60, 80), masks=[])):
            with pytest.raises(ValueError, match=r'grid=\(.*\) is finer than a view of 48 x 48 pixels'):
                select = dict(type='SelectMasks', grid=grid)
                MultiView(views=[CROP], regions=dict(masks=select))(results_of(proposals))
    with pytest.raises(ValueError, match='count must be at least 1'):
        SelectMasks(count=0)


def largest(proposals, views, **kwargs):
    return LargestMasks(**{'grid': 6, **kwargs}).choose(results_of(proposals), views)


def two_views():
    return [
        DrawnView(Crop((0, 0, 48, 48), (48, 48), False)),
        DrawnView(Crop((20, 10, 80, 60), (48, 48), True)),
    ]


def test_the_largest_masks_have_one_row_in_all_views():
    proposals, views = proposals_of(segments(), ids=np.arange(7) + 10), two_views()
    every = largest(proposals, views, count=9)
    for view, found in zip(views, every, strict=True):
        assert found.ids.tolist()[7:] == [-1, -1] and not found.masks[7:].any()
        want = cell_shares(segments(), view.box, view.flipped, view.size, (6, 6), 7)
        torch.testing.assert_close(found.masks[:7], torch.from_numpy(want[found.ids[:7] - 10]))
        torch.testing.assert_close(found.masks.sum(0), torch.ones(6, 6))
    sizes = sum(found.masks.sum((1, 2)) for found in every)
    assert (sizes[:-1] >= sizes[1:]).all() and torch.equal(every[0].ids, every[1].ids)
    some = largest(proposals, views, count=3, hard=True)
    assert some[0].ids.tolist() == every[0].ids.tolist()[:3]
    assert set(some[0].masks.unique().tolist()) == {0.0, 1.0}


def test_an_image_without_masks_has_none():
    for found in largest(Proposals([], (60, 80), masks=[]), two_views(), count=2):
        assert found.ids.tolist() == [-1, -1] and found.masks.shape == (2, 6, 6) and not found.masks.any()


def test_the_largest_of_boxes_are_refused():
    with pytest.raises(ValueError, match='LargestMasks needs masks'):
        largest(Proposals([[0, 0, 9, 9]], (60, 80)), two_views())
