"""Scheduled options of the optimiser, in real runs of mmengine's Runner."""

import math

import pytest
import torch
from mmengine.optim import CosineAnnealingLR

from densecl.engine import ParamSchedule

EPOCHS, STEPS = 4, 6
TOTAL = EPOCHS * STEPS
SGD = dict(type='SGD', lr=0.5, momentum=0.9, weight_decay=0.04)
PREDICTOR = dict(
    constructor='ParamGroupsConstructor',
    paramwise_cfg=dict(rules=[dict(match='predictor', lr_mult=0.1, decay_mult=0)]),
)
LR = dict(start=1, end=0.001, warmup=1, unit='epoch')


def schedule(param_name='lr', **options):
    return dict(type='ParamSchedule', param_name=param_name, convert_to_iter_based=True, **options)


def warm_cosine(step, total=TOTAL, warm=STEPS):
    """Factor of the rate: one epoch from 0 to 1, then half a cosine to a thousandth."""
    if step < warm:
        return step / warm
    return 0.001 + 0.999 * (1 + math.cos(math.pi * (step - warm) / (total - warm))) / 2


def column(runner, key, group=0):
    return [groups[group][key] for groups in runner.record.groups]


def test_lr_of_every_iteration_and_ratio_of_the_groups(toy_runner):
    runner = toy_runner(SGD, param_scheduler=[schedule(factor=LR)], **PREDICTOR)
    runner.train()
    expected = [warm_cosine(s) for s in range(TOTAL)]
    assert column(runner, 'lr') == pytest.approx([0.5 * f for f in expected], abs=1e-15)
    assert column(runner, 'lr', 1) == pytest.approx([0.05 * f for f in expected], abs=1e-15)
    # what a next iteration would have is the end of the descent
    assert runner.optim_wrapper.param_groups[0]['lr'] == pytest.approx(0.0005)


def test_weight_decay_leaves_groups_without_it_alone(toy_runner):
    schedules = [schedule(factor=LR), schedule('weight_decay', value=dict(start=0.04, end=0.4))]
    runner = toy_runner(SGD, param_scheduler=schedules, **PREDICTOR)
    runner.train()
    cosine = [0.4 - 0.36 * (1 + math.cos(math.pi * s / TOTAL)) / 2 for s in range(TOTAL)]
    assert column(runner, 'weight_decay') == pytest.approx(cosine, abs=1e-15)
    assert column(runner, 'weight_decay', 1) == [0] * TOTAL
    assert column(runner, 'lr')[STEPS] == 0.5


def test_a_group_that_begins_later_and_rises(toy_runner):
    rules = dict(rules=[dict(match='predictor', lr_mult=0.1, lr_ramp=(4, 3))])
    grouped = dict(constructor='ParamGroupsConstructor', paramwise_cfg=rules)
    runner = toy_runner(SGD, param_scheduler=[schedule(factor=dict(start=1, end=0))], **grouped)
    runner.train()
    cosine = [(1 + math.cos(math.pi * s / TOTAL)) / 2 for s in range(TOTAL)]
    assert column(runner, 'lr') == pytest.approx([0.5 * f for f in cosine], abs=1e-15)
    rise = [0, 0, 0, 0, 1 / 3, 2 / 3] + [1] * (TOTAL - 6)
    want = [0.05 * f * r for f, r in zip(cosine, rise, strict=True)]
    assert column(runner, 'lr', 1) == pytest.approx(want, abs=1e-15)


def test_fixed_groups_and_change_by_epoch(toy_runner):
    """SimSiam with --fix-pred-lr."""
    rules = dict(rules=[dict(match='predictor', lr_fixed=True)])
    runner = toy_runner(
        SGD,
        param_scheduler=[schedule(factor=dict(start=1, end=0, by_epoch=True))],
        constructor='ParamGroupsConstructor',
        paramwise_cfg=rules,
    )
    runner.train()
    per_epoch = [0.25 * (1 + math.cos(math.pi * (s // STEPS) / EPOCHS)) for s in range(TOTAL)]
    assert column(runner, 'lr') == pytest.approx(per_epoch)
    assert column(runner, 'lr', 1) == [0.5] * TOTAL


def test_time_is_optimiser_steps_under_accumulation(toy_runner):
    runner = toy_runner(SGD, param_scheduler=[schedule(factor=LR)], accumulative_counts=2)
    runner.train()
    steps = [warm_cosine(s // 2, TOTAL // 2, STEPS // 2) for s in range(TOTAL)]
    assert column(runner, 'lr') == pytest.approx([0.5 * f for f in steps], abs=1e-15)


def test_iteration_loops(toy_runner):
    cfg = dict(type='IterBasedTrainLoop', max_iters=9)
    half = dict(start=1, end=0, shape='linear', duration=0.5)
    options = dict(type='ParamSchedule', param_name='lr', factor=half, by_epoch=False)
    runner = toy_runner(SGD, param_scheduler=[options], train_cfg=cfg)
    runner.train()
    assert column(runner, 'lr') == pytest.approx([0.5 * max(0, 1 - s / 4.5) for s in range(9)])


def test_a_run_that_is_longer_than_its_schedule_is_warned_of(toy_runner, capfd):
    """mmengine says that an iteration loop has one epoch."""
    cfg = dict(type='IterBasedTrainLoop', max_iters=9)
    toy_runner(SGD, param_scheduler=[schedule(factor=LR)], train_cfg=cfg).train()
    told = capfd.readouterr()
    assert (told.out + told.err).count('goes on after iteration 6, where the schedule ends') == 1


@pytest.mark.parametrize('every, warned', [(1, False), (4, True)])
def test_a_warm_up_that_does_not_end_is_warned_of(every, warned, monkeypatch):
    """Time is optimiser steps: with accumulation a run has fewer."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.5)
    optimizer._accumulative_counts = every
    factor = dict(start=1, end=0, warmup=6, unit='step')
    lines = []
    monkeypatch.setattr('densecl.engine.param_schedule.print_log', lambda line, *_: lines.append(line))
    ParamSchedule(optimizer, 'lr', factor=factor, end=20, by_epoch=False)
    sentence = 'the warm-up of 6 steps is not over when the run ends, after 5'
    assert [sentence in line for line in lines] == [True] * warned


@pytest.mark.parametrize('after', [4, 13], ids=['in the warm-up', 'in the descent'])
def test_a_resumed_run_goes_on_exactly(toy_runner, tmp_path, after):
    schedules = [schedule(factor=LR), schedule('weight_decay', value=dict(start=0.04, end=0.4))]
    torch.manual_seed(0)
    whole = toy_runner(SGD, param_scheduler=schedules, **PREDICTOR)
    whole.train()
    path = str(tmp_path / f'toy/iter_{after}.pth')
    rest = toy_runner(SGD, param_scheduler=schedules, resume=True, load_from=path, **PREDICTOR)
    rest.train()
    # mmengine's epoch loop repeats the first batches of the epoch: more iterations than are left.
    assert rest.record.groups[: TOTAL - after] == whole.record.groups[after:]


def test_position_is_the_start_of_the_epoch_when_epochs_have_another_length():
    def build(length):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.5)
        options = dict(param_name='lr', factor=LR, end=EPOCHS, epoch_length=length)
        return ParamSchedule.build_iter_from_epoch(optimizer, **options)

    old, new = build(6), build(3)
    for _ in range(14):
        old.optimizer.step()
        old.step()
    new.load_state_dict(old.state_dict())
    assert new.last_step == 2 * 3
    assert new.optimizer.param_groups[0]['lr'] == 0.5 * warm_cosine(6, 12, 3)


def test_the_position_of_another_kind_of_schedule_is_refused():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.5)
    schedule = ParamSchedule(optimizer, 'lr', factor=1, end=10, by_epoch=False)
    cosine = CosineAnnealingLR(optimizer, T_max=10)
    with pytest.raises(ValueError, match='another kind of schedule; resume with the config'):
        schedule.load_state_dict(cosine.state_dict())


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(), 'one of factor=... and value=...'),
        (dict(factor=1, value=1), 'one of factor=... and value=...'),
        (dict(value=1), 'lr takes factor'),
        (dict(factor=1, by_epoch=True), 'convert_to_iter_based=True'),
        (dict(factor=1, end=None), 'convert_to_iter_based=True'),
        (dict(factor=1, param_name='decay'), "no 'decay', it has .*'lr'"),
        (dict(factor=dict(start=1, end=0, warmup=5)), "ParamSchedule of lr.*unit='epoch'"),
    ],
)
def test_errors_name_the_argument(options, message):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.5)
    with pytest.raises(ValueError, match=message):
        ParamSchedule(optimizer, **dict(dict(param_name='lr', end=10, by_epoch=False), **options))


def test_units_of_epochs_need_an_epoch():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.5)
    with pytest.raises(RuntimeError, match="units of 'epoch'"):
        ParamSchedule(optimizer, 'lr', factor=LR, end=10, by_epoch=False)
