"""One image's proposals as bytes and back, over random ones."""

import numpy as np
import pytest

from densecl.proposals.record import decode, encode, unit_exponent
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


@pytest.mark.parametrize('precision', [1 / 8, 1, 1 / 64, 0])
def test_round_trip_within_half_a_unit(precision):
    for seed in range(60):
        given = random_proposals(seed)
        back = decode(encode(given, precision))
        unit = 2.0 ** unit_exponent(precision, max(given.size)) if precision else 0
        assert unit == 0 or max(given.size) / unit <= 65535 and unit >= precision
        assert unit <= precision or max(given.size) * 2 / unit > 65535  # not coarser than needed
        np.testing.assert_allclose(back.boxes, given.boxes, rtol=3e-7, atol=unit / 2)
        assert back.size == given.size and back.boxes.dtype == np.float32
        assert (back.boxes >= 0).all() and (back.boxes <= [*given.size[::-1]] * 2).all()
        np.testing.assert_array_equal(back.ids, given.ids)
        assert (back.scores is None) == (given.scores is None)
        if given.scores is not None:
            rtol, atol = (2**-11, 1e-7) if precision else (0, 0)
            np.testing.assert_allclose(back.scores, given.scores, rtol, atol)
        assert back.masks == given.masks


def test_whole_pixels_and_whole_images_are_exact():
    boxes = np.float32([[0, 0, 8191, 5000], [17, 23, 18, 24], [5, 5, 5, 5]])
    assert (decode(encode(Proposals(boxes, (5000, 8191)))).boxes == boxes).all()
    # in units of 2 px: an even number, and an odd one rounded within the image
    whole = decode(encode(Proposals([[0, 0, 70002, 12347]], (12347, 70002)))).boxes.tolist()
    assert whole in ([[0, 0, 70002, 12346]], [[0, 0, 70002, 12347]])


def test_bytes_an_image():
    boxes = np.tile(np.float32([10, 20, 110, 220]), (50, 1))
    assert len(encode(Proposals(boxes, (375, 500)))) == 14 + 50 * 8
    assert len(encode(Proposals(boxes, (375, 500), scores=np.ones(50)))) == 14 + 50 * 10
    assert len(encode(Proposals(boxes[:0], (375, 500)))) == 14


def test_boxes_are_cut_to_the_image():
    back = decode(encode(Proposals([[-5, -0.01, 12, 99]], (20, 10))))
    assert back.boxes.tolist() == [[0, 0, 10, 20]]


def test_bad_boxes_are_refused():
    for box in ([0, 0, np.nan, 5], [0, 0, np.inf, 5], [6, 0, 5, 5]):
        with pytest.raises(ValueError, match='boxes must be finite'):
            encode(Proposals([[1, 1, 2, 2], box], (20, 10)))
    with pytest.raises(ValueError, match=r'mask is \(3, 3\), but the image is \(20, 10\)'):
        encode(Proposals([[1, 1, 2, 2]], (20, 10), masks=[dict(size=[3, 3], counts=b'1')]))
    with pytest.raises(ValueError, match='power of 2'):
        encode(Proposals([[1, 1, 2, 2]], (20, 10)), precision=0.1)
