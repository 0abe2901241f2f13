"""Rules by row, id and label, and their unions and intersections."""

from types import SimpleNamespace

import pytest
import torch

from densecl.models.matching import AllOf, AnyOf, ByLocation, MostSimilar, SameId, SameLabel, SameRow
from densecl.structures import Units
from tests.models.matching.sets import cells_of, images


def with_ids(ids, **kwargs):
    ids = torch.tensor(ids)
    return Units(torch.randn(*ids.shape, 3), ids=ids, **kwargs)


def test_row_by_row_where_both_are_there():
    there = [torch.tensor([[True, True, False]]), torch.tensor([[True, False, True]])]
    query, key = (Units(torch.randn(1, 3, 2), valid=valid) for valid in there)
    match = SameRow()(query, key, images(1))
    assert match.index.tolist() == [[0, 1, 2]] and match.valid.tolist() == [[True, False, False]]
    assert match.found().tolist() == [[True, False, False]]
    assert SameRow()(Units(query.vectors), Units(key.vectors), images(1)).valid is None
    with pytest.raises(ValueError, match='3 units of the query view cannot answer 2'):
        SameRow()(query, Units(torch.randn(1, 2, 2)), images(1))


def test_ids_may_repeat_or_be_absent():
    query, key = with_ids([[5, 7, -1, 5]]), with_ids([[7, 5, 5, -1]])
    match = SameId(share_repeats=True)(query, key, images(1))
    want = [[0, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 1, 1, 0]]
    assert match.mask[0].int().tolist() == want
    assert match.weight.tolist() == [[0.5, 1, 1, 0.5]]
    assert match.count().tolist() == [[2, 1, 0, 2]]
    torch.testing.assert_close(match.sum_of(key.vectors)[0, 0], key.vectors[0, 1] + key.vectors[0, 2])
    hidden = with_ids([[7, 5, 5, -1]], valid=torch.tensor([[True, False, True, True]]))
    assert SameId()(query, hidden, images(1)).count().tolist() == [[1, 1, 0, 1]]


def test_images_whose_views_do_not_overlap_are_left_out():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10]])
    apart = torch.tensor([[5.0, 5, 20, 20], [10, 0, 20, 10]])
    query, key = cells_of((1, 2), 0, boxes=boxes, batch=2), cells_of((1, 2), 1, boxes=apart, batch=2)
    query.ids = key.ids = torch.tensor([[0, 1], [0, 1]])
    assert SameId(overlap=True)(query, key, images(2)).found().tolist() == [[True] * 2, [False] * 2]


def test_labels_name_candidates_of_other_images():
    query, key = (Units(torch.randn(3, 2, 4)) for _ in range(2))
    match = SameLabel()(query, key, images(3, torch.tensor([1, -1, 2])))
    across = match.across(SimpleNamespace(labels=torch.tensor([2, 1, -1, 1])))
    want = [[0, 1, 0, 1], [0, 1, 0, 1], [0] * 4, [0] * 4, [1, 0, 0, 0], [1, 0, 0, 0]]
    assert across(slice(0, 4)).int().tolist() == want
    assert match.index.tolist() == [[0, 1]] * 3
    with pytest.raises(ValueError, match='SameLabel needs labels'):
        SameLabel()(query, key, images(3))
    with pytest.raises(ValueError, match='candidates have no labels'):
        match.across(SimpleNamespace(labels=None))


def test_union_and_intersection():
    query, key = cells_of((3, 3), 0), cells_of((3, 3), 1)
    near = ByLocation(0.7)(query, key, images()).mask
    alike = MostSimilar()(query, key, images()).answers(9)
    rules = [dict(type='densecl.ByLocation', threshold=0.7), 'densecl.MostSimilar']
    assert torch.equal(AnyOf(rules)(query, key, images()).mask, near | alike)
    assert torch.equal(AllOf(rules)(query, key, images()).mask, near & alike)
    assert AnyOf(rules).needs == {'grid', 'place', 'features'} and not AnyOf(rules).one_answer
    assert (near & ~alike).any() and (alike & ~near).any()
    alone = dict(NearestLocation={}, SharedGrid={}, SameLabel={}, SameId=dict(share_repeats=True))
    for name, choices in alone.items():
        with pytest.raises(ValueError, match=f'{name} cannot be combined'):
            AnyOf(['densecl.SameRow', dict(type=f'densecl.{name}', **choices)])
    with pytest.raises(ValueError, match='two or more'):
        AllOf(['densecl.SameRow'])
