"""Killed runs end as the uninterrupted one; what a long run holds stays level.

The long forms are in benchmarks/.
"""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from densecl.compat import load_checkpoint

BENCHMARKS = Path(__file__).parents[2] / 'benchmarks'


@pytest.fixture
def benchmark(monkeypatch):
    """Imports a benchmark by its name."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield __import__
    for name in ('kill', 'soak', 'flips', 'tiny'):
        sys.modules.pop(name, None)


def test_a_run_killed_at_each_moment_ends_as_the_uninterrupted_one(benchmark, tmp_path):
    kill = benchmark('kill')
    photos = kill.make_photos(tmp_path / 'photos', kill.IMAGES)
    whole = kill.whole_run('densecl', photos, tmp_path / 'whole')
    deaths = [('step', 4), ('write', 3), ('rename', 3), ('rotation', 2), ('meter', 1)]
    lines = kill.killed_run('densecl', photos, tmp_path / 'killed', deaths, workers=1)
    assert [line['moment'] for line in lines] == [moment for moment, _ in deaths]
    assert kill.differences(tmp_path / 'killed', whole) == []
    steps = [line['step'] for line in kill._steps(tmp_path / 'killed')]
    assert len(steps) > len(set(steps)) == kill.STEPS  # some were made twice


def test_differences_are_found(benchmark, tmp_path):
    kill = benchmark('kill')
    photos = kill.make_photos(tmp_path / 'photos', kill.IMAGES)
    whole = kill.whole_run('rotation', photos, tmp_path / 'whole')
    other = kill.whole_run('rotation', photos, tmp_path / 'other')
    assert kill.differences(other, whole) == []
    file = other / f'iter_{kill.STEPS}.pth'
    saved = load_checkpoint(file)
    saved['optimizer']['state'][0]['momentum_buffer'][0] += 1e-6
    torch.save(saved, file)
    lines = (other / 'steps.jsonl').read_text()
    (other / 'steps.jsonl').write_text(lines.replace('"images": [', '"images": [0, ', 1))
    assert kill.differences(other, whole) == ['step 1', 'optimizer.state.0.momentum_buffer']


def test_no_altered_checkpoint_is_read_as_something_else(benchmark, tmp_path):
    flips = benchmark('flips')
    found = flips.count(load_checkpoint, tmp_path, every=13)
    assert found['read as something else'] == 0 and found['refused'] > 400
    assert flips.count(lambda p: torch.load(p, weights_only=True), tmp_path, every=13)[
        'read as something else'
    ]


def test_what_a_run_holds_stays_level(benchmark, tmp_path):
    """Six epochs, each with a worker of its own."""
    rows = benchmark('soak').soak(steps=60, every=10, work=tmp_path, out=tmp_path / 'soak.csv', images=20)
    assert len((tmp_path / 'soak.csv').read_text().splitlines()) == 1 + len(rows)
    assert len(rows) == 6
    for name in ('descriptors', 'threads', 'children', 'files'):
        assert len({row[name] for row in rows[3:]}) == 1, (name, rows)


def test_slope(benchmark):
    steps, noise = np.arange(0.0, 20_000, 100), np.random.default_rng(0).normal(size=200)
    change, error = benchmark('soak').slope(steps, 3 * steps / 1000 + noise)
    fit, covariance = np.polyfit(steps / 1000, 3 * steps / 1000 + noise, 1, cov=True)
    assert change == pytest.approx(fit[0]) and error == pytest.approx(covariance[0, 0] ** 0.5)
