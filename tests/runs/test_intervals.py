"""Intervals and p-values are those of Student's t."""

import math

import numpy as np
import pytest
from scipy import stats

from densecl.runs.intervals import interval, paired


@pytest.mark.parametrize('count', [2, 3, 5, 10, 16, 17, 40])
def test_half_width_and_p_value_against_scipy(count):
    values = np.random.default_rng(count).normal(1, 2, count)
    low, high = stats.t.interval(0.95, count - 1, values.mean(), stats.sem(values))
    found = interval(values.tolist())
    assert (found.mean, found.low, found.high) == pytest.approx((values.mean(), low, high))
    assert found.p_value == pytest.approx(stats.ttest_1samp(values, 0).pvalue)


def test_one_value_has_no_interval():
    found = interval([2.0])
    assert math.isinf(found.half) and str(found) == '2.00 (one value)' and found.p_value == 1
    with pytest.raises(ValueError, match='needs a value'):
        interval([])


def test_pairs_cancel_what_seeds_share():
    one = [10.0, 20.0, 30.0]
    found = paired(one, [11.0, 21.0, 31.0])
    assert (found.mean, found.half, found.count, found.p_value) == (1.0, 0.0, 3, 0.0)
    assert paired(one, one).p_value == 1
    # differences 1, 2, 3: mean 2, standard error 1 / sqrt(3)
    assert paired(one, [11.0, 22.0, 33.0]).half == pytest.approx(4.303 / math.sqrt(3), rel=1e-3)
    with pytest.raises(ValueError):
        paired(one, [1.0])
