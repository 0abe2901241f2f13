"""Settings follow from photos, machine and hours by the rules that docs/command-line.md states."""

import itertools

import pytest
from mmengine.config import Config

from densecl.compat.packages import config_root
from densecl.runs.values import method_traits
from densecl.settings import Conditions, Machine, Photos, Setting, Speed, advice, derive, settings_table
from densecl.settings.config_values import in_epochs

SMALL_MACHINE = config_root() / '_base_/small_machine.py'
GPU = Machine(16, 2**36, 'a GPU', 80 * 2**30, True)


def decided(count: int, **changes) -> dict:
    conditions = dict(photos=Photos(count), speed=Speed(1e6, 'measured'), hours=100.0) | changes
    return {name: setting.value for name, setting in derive(Conditions(**conditions)).items()}


def test_rows_of_the_table():
    # photos -> steps, heads alone, ramp, queue, momentum of a target that had a constant one
    rows = {
        300: (300, 20, 10, 0, (0.99, 0.999)),
        1000: (500, 25, 12, 256, (0.99, 0.999)),
        3000: (1000, 50, 25, 1024, (0.99, 1.0)),
        10_000: (2000, 100, 50, 4096, (0.996, 1.0)),
    }
    for count, (steps, heads, ramp, queue, momentum) in rows.items():
        found = decided(count, hours=None, method='pixpro')
        assert (found['batch'], found['method']) == (16, 'pixpro')
        assert (found['steps'], found['heads_only'], found['ramp']) == (steps, heads, ramp)
        assert (found['queue'], found['momentum']) == (queue, momentum)


def test_the_anchor_alone_has_no_heads_to_wait_for():
    found = decided(300)
    assert (found['method'], found['heads_only'], found['ramp']) == ('anchor', 0, 10)
    assert decided(300, continued=False)['method'] == 'densecl'


def test_the_anchor_takes_sixteen_epochs():
    # 16 n / 16, but 350 at least and 3,000 at most
    for count, steps in {100: 350, 367: 367, 1000: 1000, 3000: 3000, 10_000: 3000}.items():
        assert decided(count, hours=None)['steps'] == steps


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
    assert found['steps'].value == 32_400 // 16
    assert '1 hours pay for these' in found['steps'].reason


def test_too_few_steps_after_the_ramp_are_told():
    short = derive(Conditions(Photos(1000), hours=0.1, speed=Speed(3.0, 'measured'), method='pixpro'))
    # 972 photos: 60 steps; 20 of the heads alone, 10 of the ramp
    assert [short[name].value for name in ('steps', 'heads_only', 'ramp')] == [60, 20, 10]
    assert advice(short).startswith('30 steps are left after the ramp, fewer than 50: use the start itself')
    assert advice(derive(Conditions(Photos(1000), speed=Speed(1e6, 'measured')))) is None
    assert advice(derive(Conditions(Photos(1000), continued=False))) is None


def test_views_are_as_large_as_photos_and_machine_allow():
    assert decided(300)['view_size'] == 160
    assert decided(300, machine=GPU)['view_size'] == 224
    assert decided(300, size=96)['view_size'] == 96
    assert decided(300, photos=Photos(300, (50, 100, 300)))['view_size'] == 96
    assert decided(300, photos=Photos(300, (20, 30, 40)))['view_size'] == 64
    # whole patches, such as DINOv2's of 14 px
    sizes = [decided(300, patch=14, machine=machine)['view_size'] for machine in (Machine(2), GPU)]
    assert sizes == [154, 224]
    assert decided(300, patch=32, photos=Photos(300, (50, 100, 300)))['view_size'] == 96
    assert decided(300, patch=14, photos=Photos(300, (20, 30, 40)))['view_size'] == 70


def test_rates_grow_with_the_root_of_the_batch():
    assert decided(300)['lr'] == decided(300)['backbone_lr'] == 2e-3
    large = decided(5000, machine=GPU)
    assert (large['batch'], large['lr']) == (64, 4e-3)
    vit = decided(300, transformer=True)
    assert (vit['lr'], vit['backbone_lr'], vit['layer_decay']) == (1e-3, 2e-5, 0.9)
    assert 'frozen_layers' not in vit
    assert decided(300, continued=False, recipe_lr=0.06)['lr'] == 0.06


def test_random_weights_take_the_small_recipe():
    found = decided(6400, continued=False)
    assert found['steps'] == 200 * 100  # 200 epochs
    assert found['view_size'] == Config.fromfile(SMALL_MACHINE).small_side
    assert not {'heads_only', 'ramp', 'crop_area', 'momentum', 'zero_init_residual'} & found.keys()
    branches = dict(parts=frozenset({'branches'}))
    assert decided(6400, continued=False, **branches)['zero_init_residual'] is True
    assert 'zero_init_residual' not in decided(6400, **branches)
    assert 'branches' in method_traits('densecl')['parts'] - method_traits('simclr')['parts']


def test_parts_that_a_method_lacks_are_left_out():
    assert 'queue' not in decided(1000, parts=frozenset())
    assert decided(1000, parts=frozenset({'prototypes'}))['prototypes'] == 128


def test_speed_is_estimated_by_cores_and_size_or_measured():
    asked = dict(size=128, method='pixpro')
    slow, fast = (derive(Conditions(Photos(500), Machine(cores), **asked)) for cores in (1, 4))
    # ResNet-18: 36 views a second and core; a continuation costs as much as 3.6 of them, the anchor 7/3
    assert slow['photos_per_s'].value == pytest.approx(0.8 * 36 / 3.6, abs=0.01)
    assert fast['photos_per_s'].value == pytest.approx(4**0.9 * slow['photos_per_s'].value, abs=0.01)
    assert 'estimated from a table: resnet18, 128 px, 1 cores' in slow['photos_per_s'].reason
    for name, row in {'vit-small-patch16-224': 'vit-small', 'densenet121': 'resnet50'}.items():
        found = derive(Conditions(Photos(500), Machine(2), size=128, architecture=name))['photos_per_s']
        assert f'estimated from a table: {row}, taken for {name}, 128 px' in found.reason
    of_8, of_16 = (
        derive(Conditions(Photos(500), size=128, architecture='vit-base', patch=patch))['photos_per_s'].value
        for patch in (8, 16)
    )
    assert of_8 == pytest.approx(of_16 / 4, abs=0.01)
    anchor = derive(Conditions(Photos(500), Machine(1), size=128))['photos_per_s']
    assert anchor.value == pytest.approx(0.8 * 36 * 3 / 7, abs=0.01)
    measured = derive(Conditions(Photos(500), speed=Speed(7.25, 'measured: 2 steps')))
    assert measured['photos_per_s'] == Setting('photos_per_s', 7.25, 'measured: 2 steps')


def test_every_setting_has_a_reason_in_the_table():
    found = derive(Conditions(Photos(1000)))
    table = settings_table(found.values(), 100)
    assert all(len(line) <= 100 for line in table.splitlines())
    for name, setting in found.items():
        assert name == setting.name and setting.reason
        assert name in table and setting.reason.split()[-1] in table


@pytest.mark.parametrize(
    ('steps', 'photos', 'batch', 'epochs', 'used'),
    [
        (108, 292, 16, 6, 292),
        (506, 8000, 16, 1, 8000),  # not two epochs
        (700, 8000, 16, 2, 5600),
        (999, 8000, 16, 2, 7984),
        (632, 40000, 64, 1, 40000),
        (202, 3000, 16, 1, 3000),
        (100, 8000, 16, 1, 1600),
        (1, 20, 16, 1, 20),
    ],
)
def test_epochs_take_the_steps_that_are_paid_for(steps, photos, batch, epochs, used):
    assert in_epochs(steps, photos, batch) == (epochs, used)
    assert 0.9 * steps <= epochs * (used // batch) <= steps
