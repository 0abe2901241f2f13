"""The plan of a config: what follows from a count."""

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from densecl.engine.launch import read_config
from densecl.planning import GPUS, plan_resources
from densecl.planning.counting import StepCost
from densecl.planning.photos import Samples
from densecl.planning.resources import (
    CONTEXT,
    EFFICIENCY,
    FRAGMENTS,
    GIB,
    HOST,
    ResourcePlan,
    _largest,
    _options,
    config_gpus,
    config_precision,
    speed,
)
from densecl.planning.step_cost import Operation, StepCounter

CONFIGS = Path(__file__).parents[2] / 'configs'
SMALL = CONFIGS / 'mocov2/mocov2_resnet18_1xb64-coslr-6e_photos.py'
OFFICIAL = CONFIGS / 'mocov2/mocov2_resnet50_8xb32-coslr-200e_in1k.py'


def cost(batch=32, passes=GIB, world=1, operations=(), wire=None) -> StepCost:
    counter = StepCounter()
    counter.operations = Counter(dict(operations))
    nothing = dict.fromkeys(('online', 'target', 'memories', 'optimizer', 'images', 'buckets'), 0)
    return StepCost(batch, world, 10, 10, passes=passes, counter=counter, wire=wire or {}, **nothing)


def test_the_largest_batch_lies_on_a_line():
    gpu = replace(GPUS['4090'], memory=CONTEXT + 10 * (1 + FRAGMENTS))  # 10 GiB for tensors
    assert _largest(gpu, cost(16, 2 * GIB), cost(32, 3 * GIB)) == 32 + 7 * 16
    assert _largest(gpu, cost(16, 12 * GIB), cost(32, 14 * GIB)) == 0


def test_speed_is_the_slower_of_arithmetic_and_memory():
    gpu = GPUS['a100-80']
    arithmetic = Operation('half', flops=312 * 10**9, moved=0)  # a millisecond
    traffic = Operation('fp32', flops=1, moved=2039 * 10**6)  # another
    low, high = speed(cost(operations=[(arithmetic, 5), (traffic, 5)]), gpu)
    assert (low, high) == pytest.approx((32 / 0.010 * EFFICIENCY[0], 32 / 0.010 * EFFICIENCY[1]))
    tiny = Operation('fp32', flops=1, moved=1)
    host = (32 / (1000 * HOST[1]), 32 / (1000 * HOST[0]))
    assert speed(cost(operations=[(tiny, 1000)]), gpu) == pytest.approx(host)


def test_settings_follow_from_memory_and_data():
    cfg = read_config(str(OFFICIAL))
    assert not _options(cfg, fits=100, batch=32, world=8, images=1_281_167)
    assert _options(cfg, fits=20, batch=32, world=8, images=1_281_167) == {
        'train_dataloader.batch_size': 16,
        'optim_wrapper.accumulative_counts': 2,
    }
    queue = {'model.heads.image.objective.queue': 8192}
    assert _options(cfg, fits=100, batch=32, world=8, images=20_000) == queue


def test_what_a_config_says():
    cfg = read_config(str(OFFICIAL))
    assert config_gpus(cfg) == 8 and config_precision(cfg) == 'fp32'
    cfg.optim_wrapper.type = 'densecl.BF16OptimWrapper'
    assert config_precision(cfg) == 'bf16'


def test_cores_and_hours():
    samples, rates = Samples([], 10, 0.01, 6), (100.0, 200.0)
    plan = ResourcePlan(GPUS['h100'], cost(world=2), samples, 3600, 2.0, (1, 1), rates, {})
    assert plan.cores == 1  # 100 photos/s a GPU of 10 ms each
    assert plan.duration == pytest.approx((2 * 3600 / 200 / 3600, 2 * 3600 / 100 / 3600))


def test_the_command(tmp_path):
    wishes = ['--gpu', 't4', '--gpus', '2', '--images', '5000']
    command = [sys.executable, '-m', 'densecl', 'plan', str(SMALL), *wishes]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = {line.split('  ')[0].strip() or line.split('  ')[1]: line for line in done.stdout.splitlines()}
    assert '2 GPUs x 64 photos' in lines['processes'] and lines['processes'].endswith('given')
    assert '11.5 M' in lines['parameters'] and lines['parameters'].endswith('counted')
    assert 't4, 14.7 GiB' in lines['largest batch'] and lines['largest batch'].endswith('predicted')
    assert lines['a photo'].endswith('measured')
    assert '6 epochs of 5,000 images' in lines['time']
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ([str(SMALL), '--gpu', 'h900'], '--gpu: expected one of h200, h100'),
        (['no.py'], 'no.py: no such config file'),
        (['photos', '--gpu', 'h100'], '--gpu is of a config'),
        ([str(CONFIGS / '_base_/schedules/finetune_slim.py')], 'the config is no pretraining'),
    ],
)
def test_mistakes_end_in_a_line(arguments, message, tmp_path):
    command = [sys.executable, '-m', 'densecl', 'plan', *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2 and message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_an_unknown_gpu():
    with pytest.raises(ValueError, match='expected one of'):
        plan_resources(read_config(str(SMALL)), gpu='h900')
