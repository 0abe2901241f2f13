"""Nearest neighbours that lead home, against loops."""

import pytest
import torch
from oracles import cribo as by_hand

from densecl.models.losses.neighbour_distillation import consistent_neighbours


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize('filled', [0, 1, 9, 25])
def test_neighbours_are_those_of_loops(filled):
    """Objects of this process are rows 4 to 9 of all, of which some are not there."""
    rows, back = drawn(6, 3, seed=1), drawn(12, 3, seed=2)
    memory, twins = drawn(25, 3, seed=3), drawn(25, 3, seed=4)
    memory[:6] += 2 * rows
    twins[:6] += 2 * back[4:10]  # so that some lead home
    numbers, valid = torch.arange(4, 10), torch.arange(12) != 7
    there = torch.arange(25) < filled
    place, agrees = consistent_neighbours(rows, memory, twins, back, numbers, there, valid)
    homes = [n for n in range(12) if valid[n]]
    for i, number in enumerate(numbers.tolist()):
        want = by_hand.nearest(rows[i], list(memory[:filled]))
        assert want is None or place[i] == want
        home = None if want is None else homes[by_hand.nearest(twins[want], list(back[valid]))]
        assert bool(agrees[i]) == (home == number)
    assert (filled == 0) == (not agrees.any()) and not agrees.all()


def test_all_agree_where_the_memory_is_the_batch():
    views = drawn(8, 5), drawn(8, 5, seed=1)
    place, agrees = consistent_neighbours(views[0], *views, views[1], torch.arange(8))
    assert torch.equal(place, torch.arange(8)) and agrees.all()


def test_lengths_do_not_matter():
    rows, memory = drawn(6, 3), drawn(9, 3, seed=1)
    twins, back = drawn(9, 3, seed=2), drawn(6, 3, seed=3)
    scale = torch.rand(9, 1, dtype=torch.float64) + 0.1
    one = consistent_neighbours(rows, memory, twins, back, torch.arange(6))
    other = consistent_neighbours(3 * rows, scale * memory, scale * twins, 0.1 * back, torch.arange(6))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
