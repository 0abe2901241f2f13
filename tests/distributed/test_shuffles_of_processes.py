"""The shuffled pass moves each rank's rows alone, and equals one that gathers everything, bit for bit."""

from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name('shuffles.py')
IMAGE, TOKEN = 4 * 3 * 4 * 6, 4 * 7  # bytes


@pytest.mark.parametrize('processes', [2, 3])
def test_rows_go_where_they_belong(over_processes, processes):
    ranks = over_processes(SCRIPT, processes)
    for number, mine in enumerate(ranks):
        assert len(mine['equal']) == 36 and all(mine['equal'])
        assert len(mine['formats']) == 24 and all(mine['formats'])
        # There and back: an image, a map of its size, and a token for every row that leaves.
        leaving = [sum(rows) - rows[number] for rows in mine['rows'] for _ in 'ab']
        coming = [
            sum(x['rows'][i // 2][number] for x in ranks) - mine['rows'][i // 2][number] for i in range(12)
        ]
        assert mine['sent'] == [a * IMAGE + b * (IMAGE + TOKEN) for a, b in zip(leaving, coming, strict=True)]
    sent = [rows for mine in ranks for rows in mine['rows']]
    assert all(sum(rows) == 5 for rows in sent)
    assert any(max(rows) > min(rows) + 1 for rows in sent)  # uneven
