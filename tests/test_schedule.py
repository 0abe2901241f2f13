"""Schedules against the formulas of the official codes, written out here."""

import math

import numpy as np
import pytest

from densecl.schedule import Clock, Schedule

EPOCHS, STEPS = 200, 25
TOTAL = EPOCHS * STEPS
QUARTERS = [0, TOTAL // 4, TOTAL // 2, 3 * TOTAL // 4, TOTAL - 1]


def values(description, steps=QUARTERS, total=TOTAL, epoch=STEPS):
    schedule = Schedule.of(description)
    return [schedule(Clock(step=step, total=total, epoch=epoch)) for step in steps]


def cosine(start, end, progress):
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


def test_a_number_needs_no_clock():
    assert Schedule.of(0.999)(None) == 0.999
    assert Schedule.of(3)(Clock(step=7)) == 3.0
    given = Schedule(0.5)
    assert Schedule.of(given) is given


def test_simclr_and_moco_v3_per_step():
    """Step s of W warm-up steps: s / W; then half a cosine over the other steps, to 0 at the end."""
    warm = 10 * STEPS
    expected = [
        4.8 * s / warm if s < warm else cosine(4.8, 0, (s - warm) / (TOTAL - warm)) for s in range(TOTAL + 1)
    ]
    got = values(dict(start=4.8, end=0, warmup=10, unit='epoch'), range(TOTAL + 1))
    close(got, expected)
    assert got[0] == 0 and got[warm] == 4.8 and abs(got[-1]) < 1e-15


def test_moco_v2_and_simsiam_per_epoch():
    expected = [0.03 * (1 + math.cos(math.pi * (s // STEPS) / EPOCHS)) / 2 for s in range(TOTAL)]
    close(values(dict(start=0.03, end=0, by_epoch=True), range(TOTAL)), expected)


def test_barlow_twins_and_vicreg_end_at_a_thousandth():
    warm = 10 * STEPS
    expected = []
    for s in QUARTERS:
        q = (1 + math.cos(math.pi * (s - warm) / (TOTAL - warm))) / 2
        expected.append(1.6 * s / warm if s < warm else 1.6 * q + 0.0016 * (1 - q))
    description = dict(start=1.6, end=0.0016, warmup=10, unit='epoch')
    close(values(description), expected)
    close(values(description, [TOTAL, TOTAL + 99]), [0.0016, 0.0016])


@pytest.mark.parametrize(
    ('start_warmup', 'base', 'final'),
    [(0.3, 4.8, 0.0048), (0, 1e-3, 1e-6)],
    ids=['swav', 'dino'],
)
def test_swav_and_dino_reach_the_base_at_the_last_warm_up_step(start_warmup, base, final):
    warm = 10 * STEPS
    rise = np.linspace(start_warmup, base, warm)
    descent = final + (base - final) * (1 + np.cos(np.pi * np.arange(TOTAL - warm) / (TOTAL - warm))) / 2
    got = values(
        dict(
            start=base,
            end=final,
            warmup=10,
            warmup_start=start_warmup,
            warmup_inclusive=True,
            unit='epoch',
        ),
        range(TOTAL),
    )
    close(got, np.concatenate([rise, descent]))
    assert got[warm - 1] == got[warm] == base
    assert got[-1] > final


def test_supcon_stays_close_to_the_official_rates():
    """Official: epochs count from 1, the cosine covers the warm-up too, which ends on it."""
    lr, floor, epochs = 0.5, 0.5 * 0.1**3, 1000
    goal = cosine(lr, floor, 10 / epochs)
    official = []
    for s in range(epochs * STEPS):
        epoch = s // STEPS + 1
        p = s / (10 * STEPS)
        official.append(0.01 + p * (goal - 0.01) if epoch <= 10 else cosine(lr, floor, epoch / epochs))
    got = values(
        dict(start=lr, end=floor, warmup=10, warmup_start=0.01, unit='epoch'),
        range(epochs * STEPS + 1),
        total=epochs * STEPS,
    )
    assert got[0] == 0.01
    assert got[-1] == pytest.approx(floor, abs=1e-15)
    assert np.abs(np.subtract(got[:-1], official)).max() < 0.011 * lr


def test_dino_weight_decay():
    expected = 0.4 + (0.04 - 0.4) * (1 + np.cos(np.pi * np.array(QUARTERS) / TOTAL)) / 2
    close(values(dict(start=0.04, end=0.4)), expected)


def test_dino_temperature_by_epoch():
    """np.linspace(0.04, 0.07, 30) for the first 30 epochs, then 0.07."""
    per_epoch = np.concatenate([np.linspace(0.04, 0.07, 30), np.full(EPOCHS - 30, 0.07)])
    description = dict(start=0.04, end=0.07, shape='linear', duration=30, unit='epoch', by_epoch=True)
    close(values(description, range(TOTAL)), np.repeat(per_epoch, STEPS))


def test_byol_momentum_is_one_at_the_end():
    """tau(k) = 1 - (1 - tau0) (1 + cos(pi k / K)) / 2."""
    steps = [*QUARTERS[:4], TOTAL]
    expected = [1 - 0.01 * (1 + math.cos(math.pi * k / TOTAL)) / 2 for k in steps]
    close(values(dict(start=0.99, end=1), steps), expected)
    assert values(dict(start=0.99, end=1), [TOTAL]) == [1.0]


def test_units_of_steps_and_of_the_run():
    steps = dict(start=1, end=0, shape='linear', duration=10, unit='step')
    assert values(steps, [0, 5, 10, 999], total=None, epoch=None) == [1, 0.5, 0, 0]
    half = dict(start=1, end=0, shape='linear', duration=0.5)
    assert values(half, [0, 25, 50, 99], total=100, epoch=None) == [1, 0.5, 0, 0]
    rise = dict(start=2, warmup=0.5)
    assert values(rise, [0, 25, 50, 99], total=100, epoch=None) == [0, 1, 2, 2]


def test_epochs_of_a_fraction_of_a_step():
    """Ten iterations an epoch, three accumulated: epoch e begins at step 10 e / 3."""
    got = values(dict(start=1, end=0, shape='linear', by_epoch=True), [9, 10, 19, 20], 30, 10 / 3)
    close(got, [1 - e / 9 for e in (2, 3, 5, 6)])


def test_an_inclusive_warm_up_of_one_step():
    assert values(dict(start=2, warmup=1, warmup_inclusive=True, unit='step'), [0, 1]) == [0, 2]


def test_the_length_must_be_known_where_it_is_used():
    schedule = Schedule.of(dict(start=1, end=0), 'momentum')
    with pytest.raises(RuntimeError, match="momentum.*units of 'run'"):
        schedule(Clock(step=3))
    with pytest.raises(RuntimeError, match='epoch'):
        Schedule.of(dict(start=1, end=0, by_epoch=True))(Clock(step=3, total=10))


@pytest.mark.parametrize(
    ('value', 'message'),
    [
        ('0.9', 'takes a number or dict'),
        (True, 'takes a number or dict'),
        (dict(end=1), 'start'),
        (dict(start=1, stop=0), 'stop'),
        (dict(start='1', end=0), 'start must be a number'),
        (dict(start=1, end=0, shape='step'), "'cosine' or 'linear'"),
        (dict(start=1, end=0, unit='epochs'), "'run', 'epoch' or 'step'"),
        (dict(start=1, end=0, warmup=-1), 'warmup must be >= 0'),
        (dict(start=1, end=0, duration=0), 'duration > 0'),
        (dict(start=1, end=0, warmup=10), "unit='epoch'"),
    ],
)
def test_errors_name_the_field(value, message):
    with pytest.raises(ValueError, match=f'(?s)tau.*{message}'):
        Schedule.of(value, 'tau')


def test_values_for_checks_of_the_range():
    assert Schedule.of(0.9).values == (0.9,)
    assert Schedule.of(dict(start=0.9, end=1)).values == (0.9, 1)


def test_what_begins_at_once_needs_no_length_of_the_run():
    assert Clock().reached(0, 'epoch', 'x.start')
    assert [Clock(step, epoch=5).reached(2, 'epoch', 'x.start') for step in (9, 10, 11)] == [
        False,
        True,
        True,
    ]
    with pytest.raises(RuntimeError, match='x.start: a schedule in units'):
        Clock().reached(1, 'epoch', 'x.start')
