"""What two gloo processes log is that of the whole batch, and they stop together."""

import math
from pathlib import Path

HERE = Path(__file__).parent


def test_logged_values_are_means_over_the_processes(over_processes):
    for found in over_processes(HERE / 'logs.py', 2):
        assert found['loss'] == [1.0] * 10  # the mean of 2 and 0, the loss of the whole batch
        assert found['number'] == [10.0 * k + 1 for k in range(1, 11)]
        assert math.isnan(found['broken'][1])
        assert found['broken'][:1] + found['broken'][2:] == [1.0] * 9
        assert found['grad_norm'] == [1.0] * 3  # without data parallel training, so 2 and 0 again
        assert found['calls'] == [4, 4, 8, 8, 10, 10]  # names, then values
        assert found['refused'] == (
            "the processes log other values: 'of_rank_1' is not logged by all; give every value at every "
            'step, 0 where there is nothing'
        )


def test_collapse_on_rank_0_stops_both(over_processes):
    first, second = over_processes(HERE / 'stopped.py', 2)
    assert first == second
    assert first['iteration'] == 6
    assert 'head image is collapsing' in first['message']
