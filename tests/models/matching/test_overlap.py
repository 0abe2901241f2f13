"""Maps read at the overlap: ramps are reproduced, two views agree, gradients are right."""

import pytest
import torch

from densecl.models.matching import SharedGrid, overlap_boxes, sample_overlap
from densecl.structures import Batch, Place, Units, cell_centers


def ramp(boxes, flipped, grid, slope):
    """A map whose value at each cell's centre is a linear function of the place in the image."""
    places = cell_centers(boxes, flipped, grid)  # (B, N, 2)
    return (places @ slope + 3).transpose(1, 2).unflatten(2, grid)


def crops(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, 2, generator=generator, dtype=torch.float64) * 100
    sides = 30 + torch.rand(count, 2, 2, generator=generator, dtype=torch.float64) * 100
    flips = torch.rand(count, 2, generator=generator) < 0.5
    boxes = torch.cat([corner, corner + sides], 2)
    return boxes[:, 0], boxes[:, 1], flips[:, 0], flips[:, 1]


SLOPE = torch.tensor([[1.0, 0, 0.3], [0, 1, -0.7]], dtype=torch.float64)


def test_two_views_of_a_ramp_agree():
    """Where both views interpolate (not beyond their outermost centres), both read the image's value."""
    boxes1, boxes2, flips1, flips2 = crops(2000)
    grid1, grid2, size = (16, 14), (9, 21), (5, 6)
    read1 = sample_overlap(ramp(boxes1, flips1, grid1, SLOPE), boxes1, flips1, boxes2, size)
    read2 = sample_overlap(ramp(boxes2, flips2, grid2, SLOPE), boxes2, flips2, boxes1, size)
    shared, exists = overlap_boxes(boxes1, boxes2)
    places = cell_centers(shared, torch.zeros_like(flips1), size)
    truth = (places @ SLOPE + 3).transpose(1, 2).unflatten(2, size)
    for read, boxes, grid in ((read1, boxes1, grid1), (read2, boxes2, grid2)):
        cell = (boxes[:, 2:] - boxes[:, :2]) / torch.tensor([grid[1], grid[0]])
        inside = (places > (boxes[:, :2] + cell / 2)[:, None]) & (places < (boxes[:, 2:] - cell / 2)[:, None])
        inside = (inside.all(-1) & exists[:, None]).unflatten(1, size)[:, None].expand_as(read)
        assert inside.sum() > 50_000
        assert (read - truth)[inside].abs().max() < 1e-10
        assert read[~exists].abs().max() == 0
    assert 100 < (~exists).sum() < 1900


@pytest.mark.parametrize('flips', [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_the_whole_map_on_its_own_grid(flips):
    """The same crop twice: the maps themselves, un-flipped."""
    maps = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    boxes = torch.tensor([[10.0, 20, 60, 60], [0, 0, 5, 4]], dtype=torch.float64)
    flipped = torch.tensor(flips) > 0
    upright = torch.where(flipped[:, None, None, None], maps.flip(3), maps)
    torch.testing.assert_close(sample_overlap(maps, boxes, flipped, boxes, (4, 5)), upright)


def test_beyond_the_outermost_centres_values_continue():
    maps = torch.tensor([[[[1.0, 5.0]]]])
    boxes, other = torch.tensor([[0.0, 0, 2, 1]]), torch.tensor([[-1.0, 0, 1, 1]])
    off = torch.zeros(1, dtype=torch.bool)
    read = sample_overlap(maps, boxes, off, other, (1, 4))  # x = 1/8, 3/8, 5/8, 7/8
    torch.testing.assert_close(read[0, 0, 0], torch.tensor([1, 1, 1.5, 2.5]))


def test_no_overlap_is_zero_without_gradient():
    maps = torch.randn(3, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    boxes = torch.tensor([[0.0, 0, 10, 10]] * 3)
    other = torch.tensor([[10.0, 0, 20, 10], [40, 40, 50, 50], [5, 5, 15, 15]])
    read = sample_overlap(maps, boxes, torch.tensor([True, False, True]), other, (3, 3))
    assert read[:2].abs().max() == 0 and read[2].abs().min() > 0
    read.square().sum().backward()
    assert maps.grad[:2].abs().max() == 0 and maps.grad[2].abs().max() > 0
    assert overlap_boxes(boxes, other)[1].tolist() == [False, False, True]


def test_gradients():
    boxes1, boxes2, flips1, _ = crops(4, seed=3)
    maps = torch.randn(4, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: sample_overlap(x, boxes1, flips1, boxes2, (2, 3)), maps)


def test_half_precision_is_read_in_float32():
    boxes1, boxes2, flips1, _ = (x.float() if x.is_floating_point() else x for x in crops(4))
    maps = torch.randn(4, 2, 7, 7).bfloat16()
    with torch.autocast('cpu', torch.bfloat16):
        read = sample_overlap(maps, boxes1, flips1, boxes2, (7, 7))
    assert read.dtype == torch.float32
    torch.testing.assert_close(read, sample_overlap(maps.float(), boxes1, flips1, boxes2, (7, 7)))


@pytest.mark.parametrize('flips', [(False, True), (True, True), (False, False)])
def test_labels_are_read_where_the_vectors_are(flips):
    """Features that are the labels stay the labels; the places that count are told to objectives."""
    crops = (
        torch.tensor([[0.0, 0, 60, 60], [0, 0, 20, 20]]),
        torch.tensor([[10.0, 5, 70, 65], [40, 40, 60, 60]]),
    )
    labels = torch.eye(9, dtype=torch.float64).expand(2, -1, -1)
    query, key = (
        Units(
            labels,
            labels=labels,
            codes=labels,
            place=Place(crop, torch.tensor([flip] * 2), None, (9, 9), (3, 3)),
        )
        for crop, flip in zip(crops, flips, strict=True)
    )
    match = SharedGrid()(query, key, Batch.numbered(torch.arange(2)))
    for units in match.read(query, key):
        assert torch.equal(units.labels, units.vectors) and units.codes is None
        assert units.valid.tolist() == [[True] * 9, [False] * 9]  # the crops of the second do not overlap
