"""SCRL's boxes: inside the overlap, of the right sizes, apart, at the same place in both views."""

import pytest
import torch
from torchvision.ops import box_iou

from densecl.models.matching import draw_regions, regions_in_view
from densecl.models.matching.regions import iou
from densecl.structures import view_to_image

SIZES = (96, 128), (64, 64)


def crops(batch, seed):
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(2):
        corner = (torch.rand(batch, 2, generator=generator) * 120).floor()
        side = (20 + torch.rand(batch, 2, generator=generator) * 180).floor()
        found.append(torch.cat([corner, corner + side], 1))
    return found


@pytest.fixture(scope='module')
def drawn():
    a, b = crops(400, 0)
    torch.manual_seed(1)
    return a, b, *draw_regions(a, b, *SIZES, count=6, min_size=12)


def frame(a, b):
    """Pixels of the view that magnifies least, for one of the original, x and y."""
    return torch.stack(
        [
            torch.tensor([size[1], size[0]]).double() / (box[:, 2:] - box[:, :2]).double()
            for box, size in ((a, SIZES[0]), (b, SIZES[1]))
        ]
    ).amin(0)


def test_inside_both_crops(drawn):
    a, b, regions, enough = drawn
    assert regions.shape == (400, 6, 4) and 50 < int(enough.sum()) < 400
    for crop in (a, b):
        crop = crop[enough, None].double()
        assert (regions[enough][..., :2] >= crop[..., :2]).all()
        assert (regions[enough][..., 2:] <= crop[..., 2:]).all()


def test_which_images_have_regions(drawn):
    a, b, _, enough = drawn
    for i in range(400):
        near, far = torch.maximum(a[i, :2], b[i, :2]), torch.minimum(a[i, 2:], b[i, 2:])
        sides = ((far - near).double() * frame(a, b)[i]).round()
        assert bool(enough[i]) == bool((far > near).all() and (sides > 12).all())


def test_sides_reach_from_the_least_to_the_overlap(drawn):
    a, b, regions, enough = drawn
    sides = (regions[..., 2:] - regions[..., :2]) * frame(a, b)[:, None]
    # Up to half a pixel is cut at the border of the overlap.
    assert sides[enough].min() >= 11.5
    whole = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).double() * frame(a, b)
    assert (sides[enough] / whole[enough, None]).max() > 0.95


def test_boxes_are_apart(drawn):
    _, _, regions, enough = drawn
    overlaps = torch.stack([box_iou(r, r).fill_diagonal_(0).amax() for r in regions[enough]])
    assert (overlaps <= 0.51).float().mean() > 0.9  # rarely there is no room, or the border cuts
    assert overlaps.max() < 0.9


def test_first_try_that_is_apart_else_the_least_overlapping():
    from densecl.models.matching.regions import _apart

    first, far, near, nearer = ([0, 0, 10, 10], [20, 0, 30, 10], [1, 0, 11, 10], [2, 0, 12, 10])
    candidates = torch.tensor([[[first] * 3, [near, far, nearer]]], dtype=torch.float64)
    assert _apart(candidates, 0.5)[0, 1].tolist() == far
    candidates[0, 1, 1] = torch.tensor(near)
    assert _apart(candidates, 0.5)[0, 1].tolist() == nearer


def test_iou_is_torchvisions():
    a, b = crops(7, 3)
    torch.testing.assert_close(iou(a[None], b[None])[0], box_iou(a, b))


def test_grid_of_the_overlap():
    """Boxes of one cell's least size: the grid puts them everywhere, not at the middle only."""
    whole = torch.tensor([[0.0, 0.0, 64.0, 64.0]]).repeat(500, 1)
    torch.manual_seed(0)
    regions, enough = draw_regions(whole, whole, (64, 64), (64, 64), count=1, min_size=32)
    assert enough.all()
    assert torch.equal(regions, regions.round())  # whole pixels
    widths = regions[:, 0, 2] - regions[:, 0, 0]
    assert widths.min() == 32 and widths.max() >= 62
    halves = regions[widths == 32, 0, 0]
    assert {0.0, 32.0} <= set(halves.tolist())


def test_repeatable_and_even_in_number():
    a, b = crops(20, 5)
    torch.manual_seed(3)
    one, after = draw_regions(a, b, *SIZES), torch.rand(1)
    torch.manual_seed(3)
    two, again = draw_regions(a, b, *SIZES), torch.rand(1)
    assert torch.equal(one[0], two[0]) and torch.equal(after, again)
    torch.manual_seed(3)
    draw_regions(a, a, *SIZES)
    assert torch.equal(torch.rand(1), after)


@pytest.mark.parametrize('flips', [(False, False), (True, False), (True, True)])
def test_same_place_in_both_views(drawn, flips):
    a, b, regions, enough = drawn
    for crop, size, flip in zip((a, b), SIZES, flips, strict=True):
        flipped = torch.full((400,), flip)
        placed = regions_in_view(regions, crop, flipped, size)[enough]
        assert (placed[..., 2:] > placed[..., :2]).all()
        assert placed.min() >= 0 and (placed[..., 2] <= size[1]).all() and (placed[..., 3] <= size[0]).all()
        corners = placed.unflatten(-1, (2, 2)).flatten(1, 2)
        back = view_to_image(corners, crop[enough].double(), flipped[enough], size).unflatten(1, (-1, 2))
        back = torch.cat([back.amin(2), back.amax(2)], -1)
        torch.testing.assert_close(back, regions[enough], rtol=0, atol=1e-3)
