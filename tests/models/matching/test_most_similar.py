"""Matching by similarity against a loop over cells."""

import pytest
import torch

from densecl.models.matching import MostSimilar, match_by_similarity
from tests.models.matching.sets import cells_of, images


def naive(query, key):
    """For each image and query cell, the key cell with the largest cosine, in float64."""
    query, key = query.double().flatten(2), key.double().flatten(2)
    rows = []
    for b in range(len(query)):
        row = []
        for i in range(query.shape[2]):
            q = query[b, :, i]
            cosines = [
                torch.dot(q, key[b, :, j]) / (q.norm() * key[b, :, j].norm()) for j in range(key.shape[2])
            ]
            row.append(max(range(len(cosines)), key=lambda j: cosines[j].item()))
        rows.append(row)
    return torch.tensor(rows)


@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize('key_grid', [(3, 4), (2, 5)])
def test_equals_the_loop(layout, key_grid):
    query = torch.randn(3, 8, 3, 4).contiguous(memory_format=layout)
    key = (torch.randn(3, 8, *key_grid) * torch.rand(3, 1, *key_grid) * 9).contiguous(memory_format=layout)
    assert torch.equal(match_by_similarity(query, key), naive(query, key))


def test_permuted_cells_are_found_again():
    query = torch.randn(2, 16, 4, 4)
    order = torch.randperm(16)
    key = query.flatten(2)[:, :, order].view(2, 16, 4, 4)
    match = match_by_similarity(query, key)
    assert torch.equal(order[match], torch.arange(16).expand(2, -1))


def test_cosine_not_dot_product_decides():
    query = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    key = torch.tensor([[1.0, 100.0], [0.0, 100.0]]).view(1, 2, 1, 2)
    assert match_by_similarity(query, key).item() == 0


def test_module_looks_at_what_it_is_told():
    a, b = cells_of((2, 2), 0), cells_of((3, 2), 1)
    for of, name in (('features', 'features'), ('projections', 'vectors')):
        rows = [getattr(units, name).transpose(1, 2).unflatten(2, units.place.grid) for units in (a, b)]
        got = MostSimilar(of)(a, b, images())
        assert torch.equal(got.index, match_by_similarity(*rows)) and got.valid is None
    with pytest.raises(ValueError, match='features'):
        MostSimilar('backbone')


def test_maps_of_different_width_are_refused():
    with pytest.raises(ValueError, match='same batch and channels'):
        match_by_similarity(torch.randn(2, 4, 2, 2), torch.randn(2, 5, 2, 2))


def test_units_that_are_not_there_are_no_answers():
    query, key = cells_of((2, 2), 0), cells_of((2, 3), 1)
    key.valid = torch.tensor([[True] * 6, [True, False, False, True, False, True], [False] * 6])
    query.valid = torch.tensor([[True, False, True, True]] * 3)
    match = MostSimilar()(query, key, images())
    whole = MostSimilar()(cells_of((2, 2), 0), cells_of((2, 3), 1), images())
    assert match.found().tolist() == [[True, False, True, True]] * 2 + [[False] * 4]
    assert torch.equal(match.index[0], whole.index[0])
    there = [0, 3, 5]
    features = query.features[1][:, None], key.features[1][there]
    cosines = torch.nn.functional.cosine_similarity(*features, dim=-1)
    assert match.index[1].tolist() == [there[i] for i in cosines.argmax(1)]
    assert not torch.equal(match.index[1], whole.index[1])
