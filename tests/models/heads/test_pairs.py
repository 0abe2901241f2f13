"""Which sets are compared: the spelling of a config, and its errors."""

import pytest

from densecl.models.heads import Pair
from densecl.models.heads.pairs import crop_pairs, parse_pairs


def test_a_mean_where_there_are_no_weights():
    assert parse_pairs(((0, 1),), ()) == [Pair(0, 1, 1.0)]
    found = parse_pairs([(0, 1), [1, 0], dict(query=2, key=0, name='third')], ())
    assert found == [Pair(0, 1, 1 / 3), Pair(1, 0, 1 / 3), Pair(2, 0, 1 / 3, 'third')]


def test_weights_are_a_sum_and_nothing_is_divided():
    pairs = [dict(query=0, key=1, weight=2.0), dict(query=1, key=0, weight=0, name='back')]
    assert parse_pairs(pairs, ()) == [Pair(0, 1, 2.0), Pair(1, 0, 0, 'back')]


def test_sets_with_kinds():
    pairs = [dict(query=('local', 0), key=['global', 1])]
    assert parse_pairs(pairs, ('global', 'local')) == [Pair(('local', 0), ('global', 1), 1.0)]
    assert parse_pairs(((('local', 0), ('global', 1)),), ('global', 'local'))[0].key == ('global', 1)


@pytest.mark.parametrize(
    ('pairs', 'kinds', 'message'),
    [
        (
            [dict(query=0)],
            (),
            r"an entry is \(query, key\) or dict\(query=, key=, weight=, name=\), got .*'query': 0",
        ),
        ([dict(query=0, key=1, wieght=2)], (), "an entry is .*, got .*'wieght': 2"),
        ([], (), r'at least one pair; got \[\]'),
        ([(0, 1), dict(query=1, key=0, weight=1.0)], (), 'give every pair a weight, or none of them'),
        ([(0, 1, 2)], (), r'an entry is .*, got \(0, 1, 2\)$'),
        ([0, 1], (), 'an entry is .*, got 0$'),
        (
            [(0, ('local', 1))],
            (),
            r"a set of these units is the number of a view, from 0, got \('local', 1\)",
        ),
        ([(0, 1)], ('global', 'local'), r"\(kind, view\) with a kind of \('global', 'local'\), got 0"),
        ([(('global', 0), ('lokal', 1))], ('global', 'local'), r"with a kind of .*, got \('lokal', 1\)"),
    ],
)
def test_errors(pairs, kinds, message):
    with pytest.raises(ValueError, match=f'^pairs: .*{message}') as caught:
        parse_pairs(pairs, kinds)
    assert '\n' not in str(caught.value)


def test_every_crop_answers_to_the_first_two_but_for_itself():
    third = 1 / 6
    assert crop_pairs(4) == [Pair(q, k, third) for q, k in ((0, 1), (1, 0), (2, 0), (2, 1), (3, 0), (3, 1))]
    with pytest.raises(ValueError, match="^pairs='crops' needs at least 2 views, the pipeline makes 1; add"):
        crop_pairs(1)
