"""auto_scale_lr: rules, processes and accumulation, before schedules take their initial values."""

import math
import time
from pathlib import Path

import pytest
from mmengine.config import Config

from densecl.engine import LRScalingRunner, launch

SGD = dict(type='SGD', lr=0.5)
SCRIPT = Path(__file__).with_name('scaled_lr.py')


def scaled(toy_runner, **options):
    """Runner after its first iteration's rate was recorded."""
    schedule = dict(start=1, end=0, shape='linear')
    runner = toy_runner(
        SGD,
        param_scheduler=[
            dict(type='ParamSchedule', param_name='lr', factor=schedule, convert_to_iter_based=True)
        ],
        **options,
    )
    runner.train()
    return runner


@pytest.mark.parametrize(
    ('rule', 'factor'), [({}, 0.25), (dict(rule='linear'), 0.25), (dict(rule='sqrt'), 0.5)]
)
def test_rules(toy_runner, rule, factor):
    runner = scaled(toy_runner, auto_scale_lr=dict(base_batch_size=8, enable=True, **rule))
    rates = [groups[0]['lr'] for groups in runner.record.groups]
    assert rates == pytest.approx([0.5 * factor * (1 - s / 24) for s in range(24)])


def test_accumulated_iterations_count(toy_runner):
    options = dict(base_batch_size=8, enable=True, rule='sqrt')
    runner = scaled(toy_runner, auto_scale_lr=options, accumulative_counts=2)
    assert runner.record.groups[0][0]['lr'] == 0.5 * math.sqrt(0.5)


def test_all_groups_and_the_logged_base_are_scaled(toy_runner):
    runner = scaled(
        toy_runner,
        auto_scale_lr=dict(base_batch_size=8, enable=True),
        constructor='ParamGroupsConstructor',
        paramwise_cfg=dict(rules=[dict(match='1d', lr_mult=0.1)]),
    )
    assert [group['lr'] for group in runner.record.groups[0]] == pytest.approx([0.125, 0.0125])
    assert runner.optim_wrapper.base_param_settings['initial_lr'] == 0.125


def test_nothing_happens_unless_enabled(toy_runner):
    runner = scaled(toy_runner, auto_scale_lr=dict(base_batch_size=8, enable=False))
    assert runner.record.groups[0][0]['lr'] == 0.5


def test_two_processes_and_the_log_line(over_processes):
    first, second = over_processes(SCRIPT, 2)
    # 2 rows x 2 processes x 3 accumulated = 12, made for 48
    assert first['lr'] == second['lr'] == 0.125
    log = first['logs'] + second['logs']
    assert log.count('auto_scale_lr, rule') == 1
    assert 'lr 0.5 -> 0.125' in log
    assert '12 images a step = 2 x 2 processes x 3 accumulated; the config is made for 48' in log
    for each in (first, second):  # one found a checkpoint, the other none
        assert each['apart'].startswith('the processes would go on at iterations [0, 3], by rank')


def test_the_flag_checks_the_config():
    for bad in (dict(), dict(auto_scale_lr=dict(rule='sqrt')), dict(auto_scale_lr=None)):
        with pytest.raises(ValueError, match='base_batch_size'):
            launch.use_auto_scale_lr(Config(bad))
    with pytest.raises(ValueError, match="rule must be 'linear' or 'sqrt', got 'cube'"):
        launch.use_auto_scale_lr(Config(dict(auto_scale_lr=dict(base_batch_size=1, rule='cube'))))
    cfg = Config(dict(auto_scale_lr=dict(base_batch_size=256, rule='sqrt', enable=False)))
    launch.use_auto_scale_lr(cfg)
    assert cfg.auto_scale_lr.enable


def test_the_tools_use_the_runner(tiny_config):
    assert isinstance(launch.build_runner(tiny_config()), LRScalingRunner)


def test_runs_of_one_second_share_nothing(tiny_config, tmp_path, monkeypatch):
    monkeypatch.setattr(time, 'time', lambda: 1e9)
    runners = []
    for name in ('first', 'second'):
        cfg = tiny_config()
        cfg.work_dir = str(tmp_path / name)
        runners.append(launch.build_runner(cfg))
    first, second = runners
    assert first.timestamp == second.timestamp
    for part in ('logger', 'message_hub', 'visualizer'):
        assert getattr(first, part) is not getattr(second, part)
    second.message_hub.update_scalar('only/second', 1.0)
    assert 'only/second' not in first.message_hub.log_scalars
