"""Intervals and p-values are those of Student's t."""

import math

import numpy as np
import pytest
from scipy import stats

from densecl.runs.intervals import benjamini_hochberg, interval, paired


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


def test_benjamini_hochberg_rejects_what_its_rule_says():
    """The rule of the paper: all up to the largest i with p_i <= q i / m."""
    generator = np.random.default_rng(0)
    for m in (1, 2, 7, 30):
        p = generator.uniform(size=m) ** 3
        adjusted = benjamini_hochberg(p.tolist())
        for q in (0.01, 0.05, 0.2, 0.5):
            ranked = np.sort(p)
            below = [i for i in range(m) if ranked[i] <= q * (i + 1) / m]
            rejected = p <= ranked[below[-1]] if below else np.zeros(m, bool)
            assert [a <= q for a in adjusted] == rejected.tolist()
    # by hand: 0.04 * 3 / 3, then 0.03 * 3 / 2 = 0.045 and no more than its larger neighbour
    assert benjamini_hochberg([0.04, 0.01, 0.03]) == pytest.approx([0.04, 0.03, 0.04])
    assert benjamini_hochberg([]) == []
