"""Sentences for the user."""

import pytest

from densecl.messages import check_choice


def test_a_choice_is_one_of_the_allowed():
    assert check_choice('X: mean', 'rows', ('rows', 'counted')) == 'rows'
    assert check_choice('size', None, (None, *{'slim': 1})) is None
    for value, allowed, said in (
        ('images', ('rows', 'counted', None), "X must be 'rows', 'counted' or None, got 'images'"),
        ([], {'only': 1}, r"X must be 'only', got \[\]"),
    ):
        with pytest.raises(ValueError, match=said):
            check_choice('X', value, allowed)
