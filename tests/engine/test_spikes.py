"""Spikes of loss and gradient are told of, once; noise, trends and slow rises are not."""

import logging

import numpy as np
import pytest

from densecl.engine import launch
from densecl.engine.hooks import SpikeHook


def told(values, **options):
    hook = SpikeHook(**options)
    return [number for number, value in enumerate(values) if hook.look('loss', float(value))]


@pytest.mark.parametrize('seed', range(3))
def test_noise_trends_and_rises_are_usual(seed):
    rng = np.random.default_rng(seed)
    steps = np.arange(2000)
    noise = rng.normal(0, 0.05, len(steps))
    assert told(7 * np.exp(-steps / 300) + 1 + noise) == []
    assert told(2 + 6 * np.minimum(steps / 500, 1) + noise) == []  # a queue that fills
    assert told(np.exp(rng.normal(0, 0.35, len(steps)))) == []  # gradient norms have long tails
    assert told(np.full(300, -1.0)) == []


def test_a_spike_is_told_of_once_and_a_new_level_becomes_usual():
    rng = np.random.default_rng(0)
    values = 5 + rng.normal(0, 0.1, 600)
    values[200:204] = 9
    values[300:] += 5
    assert told(values) == [200, 300]


def test_nothing_is_said_at_the_start():
    assert told([1.0] * 40 + [100.0] * 5, after=50) == []
    with pytest.raises(ValueError, match='after'):
        SpikeHook(after=1)


def test_in_a_run(tiny_config):
    cfg = tiny_config(**{'default_hooks.spikes': dict(type='SpikeHook', after=4, deviations=30.0)})
    cfg.optim_wrapper.optimizer.lr = 0.0
    runner, lines = launch.build_runner(cfg), []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())
    runner.logger.addHandler(handler)
    runner.model.register_forward_hook(
        lambda _, __, out: {k: v * (50 if runner.iter == 7 else 1) for k, v in out.items()}
    )
    runner.train()
    found = [line for line in lines if 'far above the last' in line]
    assert sorted(line.split(' ')[2] for line in found) == ['grad_norm', 'loss']
    assert all(line.startswith('iteration 8: ') for line in found)
