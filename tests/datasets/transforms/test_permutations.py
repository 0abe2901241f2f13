"""Sets of permutations against a search by loops, and files of them."""

import itertools

import numpy as np
import pytest

from densecl.datasets.transforms.permutations import far_permutations, read_permutations, write_permutations


def naive(cells, count, rule):
    """Greedy, over all permutations in lexicographic order."""
    every = list(itertools.permutations(range(cells)))
    chosen = [every[0]]
    while len(chosen) < count:
        best, far = None, -1
        for candidate in every:
            distances = [sum(a != b for a, b in zip(candidate, other, strict=True)) for other in chosen]
            value = min(distances) if rule == 'min' else sum(distances)
            if candidate not in chosen and value > far:
                best, far = candidate, value
        chosen.append(best)
    return chosen


@pytest.mark.parametrize('rule', ['min', 'mean'])
def test_greedy_choice(rule):
    assert far_permutations(5, 40, rule).tolist() == [list(p) for p in naive(5, 40, rule)]


def test_sixteen_of_nine_cells_differ_in_eight_cells():
    found = far_permutations(9, 16)
    distances = (found[:, None] != found[None]).sum(2)[np.triu_indices(16, 1)]
    assert distances.min() == 8 and np.array_equal(found, far_permutations(9, 16))


def test_all_permutations_and_a_seed():
    every = far_permutations(4, 24, seed=3)
    assert len(np.unique(every, axis=0)) == 24
    assert not np.array_equal(every, far_permutations(4, 24)) and np.array_equal(
        every, far_permutations(4, 24, 'min', 3)
    )


@pytest.mark.parametrize('first', [0, 1])
@pytest.mark.parametrize('suffix', ['.npy', '.txt', '.bin'])
def test_files(tmp_path, suffix, first):
    made, path = far_permutations(9, 20), tmp_path / f'set{suffix}'
    if suffix == '.bin':
        path.write_bytes(np.array([20, 9, *(made.astype(int) + first).flatten()], '<i4').tobytes())
    else:
        write_permutations(path, made + np.uint8(first))
    found = read_permutations(path, 9)
    assert found.dtype == np.uint8 and np.array_equal(found, made)


@pytest.mark.parametrize(
    ('rows', 'message'),
    [
        ([[0, 1, 2, 3], [0, 1, 2, 2]], 'row 1 is no permutation of 4 cells'),
        ([[0, 1, 2, 3], [0, 1, 2, 3]], 'the same permutation twice'),
        ([[0, 1, 2]], r'holds \(1, 3\), not \(N, 4\)'),
    ],
)
def test_a_file_that_does_not_fit(tmp_path, rows, message):
    np.savetxt(tmp_path / 'a.txt', rows, fmt='%d')
    with pytest.raises(ValueError, match=message) as error:
        read_permutations(tmp_path / 'a.txt', 4)
    assert 'a.txt' in str(error.value) and '\n' not in str(error.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ValueError, match='there is no file'):
        read_permutations(tmp_path / 'b.npy', 9)
    (tmp_path / 'b.npy').write_bytes(b'no array')
    (tmp_path / 'b.bin').write_bytes(np.array([5, 9, 1], '<i4').tobytes())
    for name in ('b.npy', 'b.bin'):
        with pytest.raises(ValueError, match=f'{name} cannot be read'):
            read_permutations(tmp_path / name, 9)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ((3, 7), '3 cells have 6 permutations, 7 were asked for'),
        ((16, 7), 'of 1 to 9 cells, got 16; give a file'),
        ((4, 7, 'max'), 'rule must be '),
    ],
)
def test_bad_numbers(arguments, message):
    with pytest.raises(ValueError, match=message):
        far_permutations(*arguments)
