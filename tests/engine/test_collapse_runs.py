"""Real runs: what is known to collapse does, and is ended; the methods themselves are not.

All methods and longer runs: benchmarks/collapse_alarms.py.
"""

import pytest

from benchmarks.collapse_alarms import CASES, build, make_photos, train


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    return make_photos(tmp_path_factory.mktemp('photos'))


@pytest.mark.parametrize('method', ['simclr', 'slotcon'])
@pytest.mark.parametrize('broken', [True, False], ids=['broken', 'healthy'])
def test_the_alarm_rings_where_a_method_collapses_and_only_there(photos, tmp_path, method, broken):
    case = CASES[method]
    changes = {**case.both, **case.broken} if broken else case.both
    rang = train(build(method, photos, tmp_path, changes, case.within if broken else 20))
    assert (rang is not None) == broken
