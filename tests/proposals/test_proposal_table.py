"""Proposals as rows of Arrow and back, over random ones."""

import numpy as np
import pytest

from densecl.proposals.table import Table, in_order, to_batch, to_row
from densecl.structures import Proposals


def random_proposals(seed):
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(1, [9000, 70000][seed % 2], 2))
    count = int(rng.integers(0, 60))
    x = np.sort(rng.uniform(0, width, (count, 2)), 1)
    y = np.sort(rng.uniform(0, height, (count, 2)), 1)
    boxes = np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], 1)
    masks = [dict(size=[height, width], counts=rng.bytes(rng.integers(0, 50))) for _ in range(count)]
    return Proposals(
        boxes,
        (height, width),
        ids=rng.integers(0, 2**40, count) if seed % 3 else None,
        scores=rng.uniform(-2, 2, count).astype(np.float32) if seed % 5 else None,
        masks=masks if seed % 7 < 3 else None,
    )


def back(*given, precision=0.0):
    """Through one record batch."""
    return Table([to_batch([to_row(f'{i:03d}', p, precision) for i, p in enumerate(given)])])


@pytest.mark.parametrize('precision', [1 / 8, 1, 1 / 64, 0])
def test_round_trip_within_half_a_unit(precision):
    given = [random_proposals(seed) for seed in range(60)]
    table = back(*given, precision=precision)
    assert list(table) == [f'{i:03d}' for i in range(60)]
    for i, one in enumerate(given):
        found = table[f'{i:03d}']
        np.testing.assert_allclose(found.boxes, one.boxes, rtol=0, atol=precision / 2)
        assert found.size == one.size and found.boxes.dtype == np.float32 and found.boxes.flags.writeable
        assert (found.boxes >= 0).all() and (found.boxes <= [*one.size[::-1]] * 2).all()
        np.testing.assert_array_equal(found.ids, one.ids)
        assert (found.scores is None) == (one.scores is None)
        if one.scores is not None:
            np.testing.assert_array_equal(found.scores, one.scores)
        assert found.masks == one.masks


def test_boxes_are_rounded_to_whole_units_within_the_image():
    boxes = np.float32([[0, 0, 70002, 5000], [17, 23, 18, 24], [5, 5, 5, 5], [0.06, 0.07, 9.19, 8.19]])
    found = back(Proposals(boxes, (5000, 70002)), precision=1 / 8)['000'].boxes
    np.testing.assert_array_equal(found, [*boxes[:3].tolist(), [0, 0.125, 9.25, 8.25]])
    outside = back(Proposals([[-5, -0.01, 12, 99]], (20, 10)), precision=1 / 8)['000'].boxes
    assert outside.tolist() == [[0, 0, 10, 20]]
    odd = back(Proposals([[0, 0, 9.6, 19.4]], (20, 10)), precision=4)['000'].boxes  # 12 would be outside
    assert odd.tolist() == [[0, 0, 8, 20]]
    assert back(Proposals([[0, 0, 10.5, 20]], (20, 10)))['000'].boxes.tolist() == [[0, 0, 10.5, 20]]


def test_bad_boxes_are_refused():
    for box in ([0, 0, np.nan, 5], [0, 0, np.inf, 5], [6, 0, 5, 5]):
        with pytest.raises(ValueError, match="'x': boxes must be finite with .* that is not: .*, 5.0]"):
            to_row('x', Proposals([[1, 1, 2, 2], box], (20, 10)))
    with pytest.raises(ValueError, match=r"'x': a mask is \(3, 3\), but the image is \(20, 10\)"):
        to_row('x', Proposals([[1, 1, 2, 2]], (20, 10), masks=[dict(size=[3, 3], counts=b'1')]))


def test_thousands_of_images_in_any_order_are_found():
    numbers = np.random.default_rng(0).permutation(5000).tolist()
    names = [f'n{i:05d}' if i % 2 else f'é/{i}' for i in range(5000)]
    table = Table.of((names[i], Proposals([[i, 0, i, 1]], (9, 5000))) for i in numbers)
    assert len(table.batches) == 5 and len(table) == 5000
    assert list(table) == sorted(names, key=str.encode)
    assert all(table[names[i]].boxes[0, 0] == i for i in numbers)
    for name in ('', 'n00000', 'n00001x', 'n0000', 'é/1', 'ÿ'):
        assert name not in table
        with pytest.raises(KeyError):
            table[name]
    assert 'a' not in Table(())


def test_of_rows_of_one_name_the_last_counts():
    names, batches = in_order(
        to_batch([to_row(name, Proposals([[i, 0, i, 1]], (9, 9))) for name in 'ba']) for i in (1, 2)
    )
    (batch,) = batches
    assert names == [b'a', b'b'] and batch['image_id'].to_pylist() == names
    assert batch['boxes'].to_pylist() == [[[2, 0, 2, 1]]] * 2
