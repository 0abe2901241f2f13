"""The table's configs are equally short, and its figures are means over seeds."""

import importlib.util
import json
from argparse import Namespace
from pathlib import Path

import pytest
from mmengine.config import Config

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def bench():
    spec = importlib.util.spec_from_file_location('knn_table', ROOT / 'benchmarks/knn_table.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def settings(**changes) -> Namespace:
    given = dict(train='train', pretrain='photos', batch=8, size=64, epochs=3, workers=0, k=[1, 10])
    return Namespace(**(given | changes))


def test_short_config(bench, tmp_path):
    path = str(ROOT / 'configs/mocov2/mocov2_resnet18_1xb64-coslr-6e_photos.py')
    cfg = bench.short_config(path, settings(), seed=4)
    cfg.dump(tmp_path / 'short.py')
    cfg = Config.fromfile(tmp_path / 'short.py')
    loader = cfg.train_dataloader
    assert (loader.batch_size, loader.dataset.data_root) == (8, 'photos')
    assert [v.size for v in loader.dataset.pipeline[0].views] == [64]
    assert cfg.train_cfg.max_epochs == 3 and cfg.param_scheduler[0].type == 'ParamSchedule'
    assert cfg.randomness.seed == 4 and cfg.default_hooks.checkpoint.interval == 3
    own = bench.short_config(path, settings(size=None, epochs=None, batch=None, pretrain=None), 0)
    assert own.train_cfg.max_epochs == 6 and own.train_dataloader.batch_size == 64
    assert own.train_dataloader.dataset.data_root == 'train'


def test_views_and_schedules_in_proportion(bench):
    views = [dict(size=224), dict(size=96), dict(type='JigsawPatches')]
    bench.resize_views(views, 96)
    assert views == [dict(size=96), dict(size=40), dict(type='JigsawPatches')]
    schedulers = [dict(begin=0, end=10), dict(T_max=90, begin=10, end=100), dict(milestones=[60, 80])]
    cfg = Config(dict(train_cfg=dict(max_epochs=100), param_scheduler=schedulers))
    bench.shorten(cfg, 20)
    warm, cosine, steps = cfg.param_scheduler
    assert (warm.begin, warm.end) == (0, 2)
    assert (cosine.T_max, cosine.begin, cosine.end) == (18, 2, 20)
    assert steps.milestones == [12, 16]


def test_figures(bench):
    runs = [{'1': dict(top1=t, mean_class=10.0), '10': dict(top1=t, mean_class=20.0)} for t in (30.0, 50.0)]
    table = bench.rows(json.loads(json.dumps({'A': runs, 'B': runs[:1]})), [1, 10])
    lines = bench.markdown(table, [1, 10]).splitlines()
    assert lines[2] == '| A | 40.0 ± 14.1 | 10.0 ± 0.0 | 40.0 ± 14.1 | 20.0 ± 0.0 | 2 |'
    assert lines[3] == '| B | 30.0 | 10.0 | 30.0 | 20.0 | 1 |'


def test_one_row_of_random_initialisations_a_backbone(bench):
    folder = ROOT / 'configs'
    small = folder / 'mocov2/mocov2_resnet18_1xb64-coslr-6e_photos.py'
    large = folder / 'mocov2/mocov2_resnet50_8xb32-coslr-200e_in1k.py'
    assert bench.backbones({'A': str(small), 'B': str(small)}) == {'random initialisation': str(small)}
    assert list(bench.backbones({'A': str(small), 'B': str(large)})) == [
        "random, A's backbone",
        "random, B's backbone",
    ]
