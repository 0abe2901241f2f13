"""Sizes at which photos are shown to a network for pictures."""

import pytest

from densecl.runs.pictures import _use_size


@pytest.mark.parametrize(
    ('shape', 'size'),
    [
        ((224, 448, 3), (448, 896)),
        ((600, 400, 3), (672, 448)),
        ((10, 4000, 3), (16, 1792)),  # its short side at 448 would be 179,200 pixels long
        ((4000, 900, 1), (1792, 400)),
    ],
)
def test_a_very_long_photo_is_made_smaller(shape, size):
    assert _use_size(shape) == size
