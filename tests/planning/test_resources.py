"""The plan of a config: what follows from a count."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from mmengine.config import Config

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
    _hours,
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
    names = ('online', 'target', 'memories', 'optimizer', 'images', 'buckets', 'accumulated', 'collectives')
    nothing = dict.fromkeys(names, 0)
    return StepCost(
        batch,
        world,
        'fp32',
        10,
        10,
        passes=passes,
        gradients=GIB,
        counter=counter,
        wire=wire or {},
        **nothing,
    )


def test_the_largest_batch_lies_on_a_line():
    gpu = replace(GPUS['4090'], memory=CONTEXT + 10 * (1 + FRAGMENTS))  # 10 GiB for tensors
    assert _largest(gpu, cost(16, 2 * GIB), cost(32, 3 * GIB)) == 32 + 7 * 16
    assert _largest(gpu, cost(32, 3 * GIB), cost(16, 2 * GIB), besides=GIB) == 32 + 6 * 16
    assert _largest(gpu, cost(16, 12 * GIB), cost(32, 14 * GIB)) == 0
    assert _largest(gpu, cost(16, 10.01 * GIB), cost(32, 12 * GIB)) == 15, 'less than a photo too much'


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
    counts = [cost(32, 9 * GIB), cost(16, 5 * GIB)]  # a quarter of a GiB a photo, and one
    roomy, small = (replace(GPUS['4090'], memory=CONTEXT + x * (1 + FRAGMENTS)) for x in (10, 6.1))
    assert not _options(cfg, roomy, counts, images=1_281_167)
    assert _options(cfg, small, counts, images=1_281_167) == {  # 20 photos, and 16 beside the gradients
        'train_dataloader.batch_size': 16,
        'optim_wrapper.accumulative_counts': 2,
    }
    queue = {'model.heads.image.objective.queue': 8192}
    assert _options(cfg, roomy, counts, images=20_000) == queue


def test_what_a_config_says():
    cfg = read_config(str(OFFICIAL))
    assert config_gpus(cfg) == 8 and config_precision(cfg) == 'fp32'
    cfg.optim_wrapper.type = 'densecl.BF16OptimWrapper'
    assert config_precision(cfg) == 'bf16'
    cfg.optim_wrapper = dict(type='AmpOptimWrapper', dtype='bfloat16')
    assert config_precision(cfg) == 'bf16'
    assert config_precision(Config(dict(optim_wrapper=dict(type='AmpOptimWrapper')))) == 'fp16'


def test_cores_and_hours():
    samples, rates = Samples([], 10, 0.01, 6), (100.0, 200.0)
    plan = ResourcePlan(GPUS['h100'], cost(world=2), samples, 3600, 2.0, (1, 1), rates, {})
    assert plan.cores == 1  # 100 photos/s a GPU of 10 ms each
    assert plan.duration == pytest.approx((2 * 3600 / 200 / 3600, 2 * 3600 / 100 / 3600))


def test_an_unknown_gpu():
    with pytest.raises(ValueError, match='--gpu must be '):
        plan_resources(read_config(str(SMALL)), gpu='h900')


def test_a_config_stays_as_it_is_and_counts_its_own_batch():
    cfg = read_config(str(SMALL))
    cfg.model.heads_first, cfg.train_dataloader.batch_size = 5, 3
    cfg.model.checkpoint_activations, cfg.model.bn_groups, cfg.model.shuffle_bn = True, 1, False
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=1000)
    before = cfg.to_dict()
    plan = plan_resources(cfg, images=600, gpus=1)
    assert cfg.to_dict() == before
    assert plan.cost.batch == 3 and plan.epochs == 5
    assert plan.fits[1] > plan.fits[0] > 1000


def test_a_backbone_without_blocks_has_no_second_batch():
    cfg = read_config(str(SMALL))
    cfg.model.backbone = dict(type='TorchvisionFeatures', arch='resnet18', nodes=['layer4'])
    plan = plan_resources(cfg)
    assert plan.fits[1] is None and 'checkpoint' not in str(plan)


def test_hours_as_people_say_them():
    assert [_hours(x) for x in (0.01, 0.5, 5.25, 41.2)] == ['36 s', '30 min', '5.2 h', '41 h']
