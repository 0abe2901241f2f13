"""Settings follow from photos, machine and hours by the rules that docs/command-line.md states."""

import itertools

import pytest

from densecl.settings import Conditions, Machine, Photos, Setting, Speed, advice, derive, settings_table

GPU = Machine(16, 2**36, 'a GPU', 80 * 2**30, True)


def decided(count: int, **changes) -> dict:
    conditions = dict(photos=Photos(count), speed=Speed(1e6, 'measured'), hours=100.0) | changes
    return {name: setting.value for name, setting in derive(Conditions(**conditions)).items()}


def test_rows_of_the_table():
    # continuing with 64 photos a step: photos -> steps, heads alone, ramp, queue, momentum, least area of a
    # crop
    rows = {
        300: (300, 100, 30, 0, (0.99, 0.999), 0.6),
        1000: (500, 100, 50, 256, (0.99, 0.999), 0.5),
        3000: (1000, 150, 80, 1024, (0.99, 1.0), 0.4),
        10_000: (2000, 300, 150, 4096, (0.996, 1.0), 0.4),
    }
    for count, (steps, heads, ramp, queue, momentum, area) in rows.items():
        found = decided(count, hours=None)
        assert found['batch'] == 64
        assert (found['steps'], found['heads_only'], found['ramp']) == (steps, heads, ramp)
        assert (found['queue'], found['momentum'], found['crop_area'][0]) == (queue, momentum, area)


def test_more_hours_give_at_most_twice_the_steps():
    assert decided(3000, hours=100.0)['steps'] == 2 * decided(3000, hours=None)['steps']


def test_more_photos_never_give_less():
    counts = [20, 100, 301, 700, 999, 2500, 5000, 20_000, 99_000, 1_000_000]
    found = [decided(count, parts=frozenset({'queue', 'prototypes', 'momentum'})) for count in counts]
    for one, two in itertools.pairwise(found):
        for name in ('steps', 'heads_only', 'ramp', 'queue', 'prototypes', 'batch'):
            assert one[name] <= two[name], name
    for count, values in zip(counts, found, strict=True):
        assert values['queue'] <= 0.42 * count
        assert values['batch'] <= count
        assert values['heads_only'] + values['ramp'] <= values['steps'] / 2


def test_hours_pay_for_steps():
    # 0.9 of an hour of 10 photos a second: 32,400 photos
    found = derive(Conditions(Photos(10_000), hours=1.0, speed=Speed(10.0, 'measured')))
    assert found['steps'].value == 32_400 // 64
    assert '1 hours pay for these' in found['steps'].reason


def test_too_few_steps_after_the_ramp_are_told():
    short = derive(Conditions(Photos(1000), hours=0.1, speed=Speed(30.0, 'measured')))
    after = short['steps'].value - short['heads_only'].value - short['ramp'].value
    assert after < 150
    assert advice(short).startswith(
        f'{after} steps are left after the ramp, fewer than 150: use the start itself'
    )
    assert advice(derive(Conditions(Photos(1000), speed=Speed(1e6, 'measured')))) is None
    assert advice(derive(Conditions(Photos(1000), continued=False))) is None


def test_views_show_things_at_the_scale_of_use():
    # 200 px, crops of (0.6 + 1) / 2 of the area: 200 sqrt(0.8) = 178.9
    photos = Photos(300, (150, 200, 250))
    assert decided(300, photos=photos, machine=GPU)['view_size'] == 176
    assert decided(300, photos=photos)['view_size'] == 144  # two cores cannot pay for more
    assert decided(300, photos=photos, size=96)['view_size'] == 96
    assert decided(300, photos=Photos(300, (50, 60, 70)))['view_size'] == 64


def test_random_weights_take_the_small_recipe():
    found = decided(6400, continued=False)
    assert found['steps'] == 200 * 100  # 200 epochs
    assert not {'heads_only', 'ramp', 'crop_area', 'momentum'} & found.keys()


def test_parts_that_a_method_lacks_are_left_out():
    assert 'queue' not in decided(1000, parts=frozenset())
    assert decided(1000, parts=frozenset({'prototypes'}))['prototypes'] == 128


def test_speed_is_estimated_by_cores_and_size_or_measured():
    slow, fast = (derive(Conditions(Photos(500), Machine(cores), size=128)) for cores in (1, 4))
    # ResNet-18: 36 views a second and core; a step encodes two online, two by the target, two by the start
    assert slow['photos_per_s'].value == pytest.approx(0.8 * 36 / (2 + 4 / 3), abs=0.01)
    assert fast['photos_per_s'].value == pytest.approx(4**0.9 * slow['photos_per_s'].value, abs=0.01)
    assert 'estimated from a table: resnet18, 128 px, 1 cores' in slow['photos_per_s'].reason
    measured = derive(Conditions(Photos(500), speed=Speed(7.25, 'measured: 2 steps')))
    assert measured['photos_per_s'] == Setting('photos_per_s', 7.25, 'measured: 2 steps')


def test_every_setting_has_a_reason_in_the_table():
    found = derive(Conditions(Photos(1000)))
    table = settings_table(found.values(), 100)
    assert all(len(line) <= 100 for line in table.splitlines())
    for name, setting in found.items():
        assert name == setting.name and setting.reason
        assert name in table and setting.reason.split()[-1] in table
