"""Joint clusters of two views' cells against loops."""

import pytest
import torch
from oracles import cribo as by_hand

from densecl.models.matching import joint_clusters


def drawn(images=3, count=20, width=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    cells = torch.randn(images, count, width, generator=generator, dtype=torch.float64)
    places = 100 * torch.rand(images, count, 2, generator=generator, dtype=torch.float64)
    first = torch.rand(images, count, generator=generator).argsort(1)
    return cells, places, first


@pytest.mark.parametrize('clusters', [2, 5, 12])
@pytest.mark.parametrize('weight', [0.0, 1.0, 3.0])
def test_clusters_are_those_of_loops(clusters, weight):
    cells, places, first = drawn(seed=clusters)
    places[:, 1] = places[:, 0]  # two cells at one place
    first = first[:, :clusters]
    for rounds in (1, 2, 5):
        found = joint_clusters(cells, places, first, weight, 20.0, rounds, 5)
        want = by_hand.joint_clusters(list(cells), places.tolist(), first.tolist(), weight, 20.0, rounds, 5)
        assert found.tolist() == want


def test_what_is_alike_and_near_is_one_object():
    """Four kinds of cells, each at a corner of the image, seen by two views."""
    generator = torch.Generator().manual_seed(1)
    kinds = torch.arange(4).repeat_interleave(6)
    cells = torch.eye(4)[kinds] + 0.1 * torch.randn(2, 24, 4, generator=generator)
    corners = torch.tensor([[0.0, 0], [90, 0], [0, 90], [90, 90]])
    places = corners[kinds] + 10 * torch.rand(2, 24, 2, generator=generator)
    found = joint_clusters(cells, places, torch.tensor([[0, 6, 12, 18]] * 2))
    assert torch.equal(found, kinds.expand(2, -1))


def test_places_decide_between_cells_that_are_alike():
    places = torch.cat([torch.rand(1, 10, 2), torch.rand(1, 10, 2) + 20], 1)
    found = joint_clusters(torch.ones(1, 20, 3), places, torch.tensor([[0, 15]]), 1.0)
    assert found.tolist() == [[0] * 10 + [1] * 10]


@pytest.mark.parametrize('cells', [torch.zeros(2, 6, 3), torch.ones(2, 6, 3).half()])
def test_cells_that_say_nothing_are_clustered_all_the_same(cells):
    found = joint_clusters(cells, torch.zeros(2, 6, 2), torch.tensor([[0, 1, 2]] * 2))
    assert found.shape == (2, 6) and found.min() >= 0 and found.max() < 3


def test_autocast_changes_nothing():
    cells, places, first = drawn()
    first = first[:, :4]
    want = joint_clusters(cells.float(), places, first)
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(joint_clusters(cells.float(), places, first), want)
