"""Nearest cells by feature and by place, against loops."""

import pytest
import torch

from densecl.models.matching import NearestFeature, NearestLocation, nearest_pairs
from densecl.structures import cell_centers
from tests.models.matching.sets import cells_of, images


def pairs(rule, query, key):
    """What the rule reads: (query row, key row) of each image, found again by the vectors."""
    match = rule(query, key, images(len(query.vectors)))
    first, second = match.read(query, key)
    assert match.index.tolist() == [list(range(first.vectors.shape[1]))] * len(query.vectors)
    rows = [
        (read.vectors[:, :, None] == whole.vectors[:, None]).all(-1).int().argmax(-1)
        for read, whole in ((first, query), (second, key))
    ]
    return [list(zip(a.tolist(), b.tolist(), strict=True)) for a, b in zip(*rows, strict=True)]


def naive(distance, top):
    """Cells in the order of their smallest distance, the first ``top`` of them in rising order."""
    found = []
    for rows in distance.tolist():
        ranked = sorted((min(row), n, row.index(min(row))) for n, row in enumerate(rows))
        found.append(sorted((n, m) for _, n, m in ranked[:top]))
    return found


@pytest.mark.parametrize('top', [None, 1, 4, 99])
def test_nearest_pairs(top):
    distance = torch.rand(4, 9, 6)
    chosen, matched = nearest_pairs(distance, top)
    got = [list(zip(a.tolist(), b.tolist(), strict=True)) for a, b in zip(chosen, matched, strict=True)]
    assert got == naive(distance, min(top or 9, 9))


@pytest.mark.parametrize('of', ['features', 'projections'])
def test_by_feature(of):
    query, key = cells_of((3, 4), 0), cells_of((2, 5), 1)
    name = 'features' if of == 'features' else 'vectors'
    a, b = (getattr(units, name).double() for units in (query, key))
    distance = (a[:, :, None] - b[:, None]).norm(dim=-1)
    assert pairs(NearestFeature(top=5, of=of), query, key) == naive(distance, 5)


@pytest.mark.parametrize('seed', range(5))
def test_by_location(seed):
    query, key = cells_of((4, 4), seed), cells_of((3, 5), seed + 100)
    a, b = (cell_centers(u.place.crop.double(), u.place.flipped, u.place.grid) for u in (query, key))
    distance = (a[:, :, None] - b[:, None]).norm(dim=-1)
    assert pairs(NearestLocation(top=7), query, key) == naive(distance, 7)


def test_a_mirrored_view_matches_its_mirror_image():
    boxes = torch.tensor([[10.0, 20.0, 90.0, 70.0]])
    query = cells_of((3, 3), 0, torch.tensor([False]), boxes, batch=1)
    key = cells_of((3, 3), 1, torch.tensor([True]), boxes, batch=1)
    mirror = torch.arange(9).view(3, 3).flip(1).flatten().tolist()
    right = list(enumerate(mirror))
    assert pairs(NearestLocation(top=None), query, key) == [right]
    wrong = pairs(NearestLocation(top=None, ignore_flips=True), query, key)
    assert wrong == [list(enumerate(range(9)))]  # the official default


def test_the_match_has_no_gradient_what_is_read_has():
    query, key = cells_of((3, 4), 0), cells_of((2, 5), 1)
    query.vectors.requires_grad_()
    match = NearestFeature(top=3)(query, key, images())
    assert not match.index.requires_grad
    match.read(query, key)[0].vectors.sum().backward()
    assert query.vectors.grad.sum() == 3 * 3 * 4


def test_bad_arguments():
    with pytest.raises(ValueError, match='top must be at least 1'):
        NearestLocation(top=0)
    with pytest.raises(ValueError, match="must be 'features' or"):
        NearestFeature(of='pixels')


@pytest.mark.parametrize('rule', [NearestFeature(top=3), NearestLocation(top=3)])
def test_units_that_are_not_there_are_no_pairs(rule):
    query, key = cells_of((2, 2), 0), cells_of((2, 3), 1)
    key.valid = torch.tensor([[True] * 6, [True, False, False, True, False, True], [False] * 6])
    query.valid = torch.tensor([[True, False, True, True], [False, True, True, False], [True] * 4])
    match = rule(query, key, images())
    distance = rule.distance(query, key)
    for image, wanted in enumerate(([0, 2, 3], [1, 2], [])):
        read = match.read(query, key)
        counted = match.found()[image]
        assert counted.sum() == len(wanted)
        there = [j for j in range(6) if key.valid[image, j]]
        for row, i in zip(counted.nonzero()[:, 0], wanted, strict=True):
            best = min(there, key=lambda j: float(distance[image, i, j]))  # noqa: B023
            assert torch.equal(read[0].vectors[image, row], query.vectors[image, i])
            assert torch.equal(read[1].vectors[image, row], key.vectors[image, best])
