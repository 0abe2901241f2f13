"""EDA: what each operator may change, and how much."""

from collections import Counter

import numpy as np
import pytest

from densecl.datasets import EDA
from densecl.datasets.text.eda import delete_words, insert_words, read_synonyms, replace_words, swap_words

WORDS = ['The', 'quick', 'dog,', 'the', 'slow', 'dog', 'and', 'a', 'cat', 'ran', 'home']
SYNONYMS = {'dog': ['hound', 'puppy'], 'cat': ['kitty'], 'quick': ['fast'], 'home': ['house']}


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize('count', [1, 2, 4, 9])
def test_words_are_replaced_wherever_they_stand(count):
    seen = set()
    for seed in range(30):
        found = replace_words(WORDS, count, SYNONYMS, generator(seed))
        changed = {a.strip(',').lower(): b.strip(',') for a, b in zip(WORDS, found, strict=True) if a != b}
        assert len(changed) == min(count, 4)
        assert all(b in SYNONYMS[a] for a, b in changed.items())
        if 'dog' in changed:  # both of them, and the comma stays
            assert found[2] == f'{changed["dog"]},' and found[5] == changed['dog']
        seen.update(changed.values())
    assert seen == {'hound', 'puppy', 'kitty', 'fast', 'house'}


def test_synonyms_are_inserted():
    places = set()
    for seed in range(60):
        found = insert_words(WORDS, 2, SYNONYMS, generator(seed))
        added = Counter(found) - Counter(WORDS)
        assert added.total() == 2 and set(added) <= {x for each in SYNONYMS.values() for x in each}
        assert [word for word in found if word not in added] == WORDS  # the others keep their order
        places |= {place for place, word in enumerate(found) if word in added}
    assert {0, len(WORDS) + 1} <= places  # at both ends, too


def test_words_change_places():
    for seed in range(30):
        one = swap_words(WORDS, 1, generator(seed))
        assert sum(a != b for a, b in zip(WORDS, one, strict=True)) == 2
        assert Counter(swap_words(WORDS, 3, generator(seed))) == Counter(WORDS)
    assert swap_words(['one'], 3, generator()) == ['one']


def test_words_are_left_out():
    kept = [len(delete_words(['a'] * 100, 0.2, generator(seed))) for seed in range(50)]
    assert 78 < np.mean(kept) < 82
    assert delete_words(WORDS, 1.0, generator()) in [[word] for word in WORDS]


@pytest.mark.parametrize('name', ['a.tsv', 'a.csv', 'a.txt'])
def test_synonyms_in_a_file_of_any_name(tmp_path, name):
    (tmp_path / name).write_bytes('dog\thound, puppy\r\n\r\nché,"a\r\n'.encode())
    assert read_synonyms(tmp_path / name) == {'dog': ['hound', 'puppy'], 'ché': ['"a']}


def test_one_operator_a_text(tmp_path):
    (tmp_path / 'synonyms.txt').write_text('dog\thound,puppy\ncat, kitty\n')
    eda = EDA(synonyms=tmp_path / 'synonyms.txt', replace=0.2, insert=0.2, swap=0.2, delete=0.2)
    lengths = Counter()
    for seed in range(400):
        found = eda(' '.join(WORDS), generator(seed)).split()
        assert found
        lengths[
            'longer' if len(found) > len(WORDS) else 'shorter' if len(found) < len(WORDS) else 'equal'
        ] += 1
        if len(found) > len(WORDS):
            assert len(found) == len(WORDS) + 2  # int(0.2 * 11)
    assert 60 < lengths['longer'] < 140  # a quarter
    assert eda('x', generator(5)) == 'x'
    assert eda(' '.join(WORDS), generator(7)) == eda(' '.join(WORDS), generator(7))


def test_a_share_of_0_leaves_an_operator_out():
    eda = EDA(replace=0, insert=0, swap=0.1, delete=0)
    assert all(Counter(eda('a b c d', generator(s)).split()) == Counter('abcd') for s in range(20))


def test_synonyms_of_a_file(tmp_path):
    path = tmp_path / 'synonyms.txt'
    path.write_text('Dog\thound\tpuppy\n\ncat, kitty ,tom\ndog\tmutt')
    assert read_synonyms(path) == {'dog': ['hound', 'puppy', 'mutt'], 'cat': ['kitty', 'tom']}
    path.write_text('dog\thound\ncat\n')
    with pytest.raises(ValueError, match="synonyms.txt, line 2: expected a word and its synonyms, got 'cat'"):
        read_synonyms(path)


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (dict(), 'replace and insert need synonyms'),
        (dict(replace=0, insert=0, swap=1.5), 'swap must be between 0 and 1, got 1.5'),
        (dict(replace=0, insert=0, swap=0, delete=0), 'one of replace, insert, swap and delete'),
    ],
)
def test_refuses_in_one_line(options, said):
    with pytest.raises(ValueError, match=said):
        EDA(**options)
