"""Curves in loggers of other projects, read back from their files."""

import json
import math
import sqlite3

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import densecl.registry  # noqa: F401  (makes the scope known)
from densecl.visualization.backends import vis_backends

SCALARS = {'loss': 0.5, 'time': 2, 'lr': torch.tensor(0.25), 'guard/dse': math.nan}


def written(logger: str, folder) -> None:
    """A config and two steps, the way a training writes them."""
    save_dir = folder / 'run' / '20260101_000000'  # mmengine adds vis_data
    with DefaultScope.overwrite_default_scope('densecl'):
        visualizer = Visualizer(
            f'{logger} test', vis_backends=vis_backends([logger], 'run')[1:], save_dir=str(save_dir)
        )
    visualizer.add_config(Config(dict(work_dir=str(folder), model=dict(type='Pretrainer'))))
    visualizer.add_scalars(SCALARS, step=1)
    visualizer.add_scalar('loss', 0.25, step=2)
    visualizer.close()


def test_tensorboard_has_every_value_and_nan(tmp_path):
    written('tensorboard', tmp_path)
    curves = EventAccumulator(str(tmp_path / 'run' / '20260101_000000' / 'vis_data')).Reload()
    assert [(e.step, e.value) for e in curves.Scalars('loss')] == [(1, 0.5), (2, 0.25)]
    assert [e.value for e in curves.Scalars('lr')] == [0.25]
    assert math.isnan(curves.Scalars('guard/dse')[0].value)


def test_trackio_has_every_value_and_nan(tmp_path, monkeypatch):
    monkeypatch.setenv('TRACKIO_DIR', str(tmp_path / 'trackio'))  # read when it is imported
    pytest.importorskip('trackio')
    written('trackio', tmp_path)
    with sqlite3.connect(tmp_path / 'trackio' / 'densecl.db') as base:
        rows = base.execute('select run_name, step, metrics from metrics order by step').fetchall()
        configs = base.execute('select config from configs').fetchall()
    found = [(name, step, json.loads(metrics)) for name, step, metrics in rows]
    assert found == [
        ('run 20260101_000000', 1, {'loss': 0.5, 'step_time': 2.0, 'lr': 0.25, 'guard/dse': 'NaN'}),
        ('run 20260101_000000', 2, {'loss': 0.25}),
    ]
    assert json.loads(configs[0][0])['model'] == {'type': 'Pretrainer'}
