"""Configs that try to run code: read safely, none of it runs; read as usual, it does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from densecl.building import ConfigMistake
from densecl.engine.safe_config import read_safely

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    'data, line',
    [
        (dict(custom_imports=dict(imports=['evil'])), 'custom_imports can run code'),
        (dict(_base_='evil.py'), '_base_ can run code'),
        (dict(model=dict(type='evil.Thing')), 'model.type imports what it names'),
        (dict(model=dict(type='densecl.engine.launch')), 'model.type imports what it names'),
        (dict(default_scope='evil'), 'default_scope imports a package'),
        (dict(model=dict(backbone=dict(_scope_='evil'))), 'model.backbone._scope_ imports a package'),
        (dict(train_dataloader=dict(dataset=dict(ann_file='a.PKL'))), 'a pickle can run code'),
        (dict(a=[dict(trust_remote_code=True)]), 'a.0.trust_remote_code: trust_remote_code can run code'),
        (dict(model=dict(teacher_config='a/b.py')), 'a file of Python can run code'),
        (dict(test_cfg=dict(nms=dict(type='open("x")'))), 'test_cfg.nms.type is evaluated as Python'),
        (dict(tracker=dict(warp_mode='exit()')), 'tracker.warp_mode is evaluated as Python'),
        (dict(cfg_options={'model.trust_remote_code': True}), 'cfg_options is not read here'),
        ([1], 'must be a dict of settings'),
    ],
)
def test_keys_and_names_that_run_code_are_refused(data, line, tmp_path):
    (tmp_path / 'c.json').write_text(json.dumps(data))
    with pytest.raises(ConfigMistake, match=line):
        read_safely(tmp_path / 'c.json')


def test_files_that_are_no_dumps_are_refused(tmp_path):
    (tmp_path / 'c.py').write_text(f'open({str(tmp_path / "ran")!r}, "w")')
    with pytest.raises(ConfigMistake, match='reads .json, .yaml, .yml; other configs are programs'):
        read_safely(tmp_path / 'c.py')
    run = f'a: !!python/object/apply:builtins.open [{tmp_path / "ran"}, w]'
    for name, text in (('a.yaml', run), ('b.json', '{'), ('c.json', '[' * 10**6), ('d.yml', 'a: [')):
        (tmp_path / name).write_text(text)
        with pytest.raises(ConfigMistake, match='cannot be read'):
            read_safely(tmp_path / name)
    (tmp_path / 'deep.json').write_text('{"a":' * 200 + '1' + '}' * 200)
    with pytest.raises(ConfigMistake, match='nested more than 100 deep'):
        read_safely(tmp_path / 'deep.json')
    assert not (tmp_path / 'ran').exists()


CODE = """
import sys
import densecl.compat
densecl.compat.install()
from densecl.engine import launch
from densecl.registry import HOOKS, MODELS
cfg = launch.load_config(sys.argv[1], None, None, 'none', safe=sys.argv[2] == 'safe')
for name in ('evil.Thing', 'evil', 'wicked.Thing'):
    try:
        HOOKS.build(dict(type=name))
        print('built', name)
    except Exception as error:
        print(error)
print(type(MODELS.build(cfg.model)).__name__, cfg.name)
"""


@pytest.mark.parametrize('safe', [True, False])
def test_names_that_reach_a_registry_import_nothing(safe, tmp_path):
    for package in ('evil', 'wicked'):
        (tmp_path / package).mkdir()
        text = f'open({str(tmp_path / "ran")!r}, "a").write("x")\nclass Thing: pass\n'
        for file in ('__init__', 'registry'):
            (tmp_path / package / f'{file}.py').write_text(text)
    model = dict(type='densecl.MLP', channels=[4, 4, 2])
    (tmp_path / 'c.json').write_text(json.dumps(dict(model=model, name='{{ fileBasenameNoExtension }}')))
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', CODE, tmp_path / 'c.json', 'safe' if safe else 'as usual'],
        env={**os.environ, 'PYTHONPATH': f'{ROOT}:{tmp_path}', 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
    )
    last = done.stdout.strip().splitlines()[-1] if done.stdout else done.stderr
    assert last == ('MLP {{ fileBasenameNoExtension }}' if safe else 'MLP c'), done.stderr
    assert (tmp_path / 'ran').exists() is not safe
    assert ('built' in done.stdout) is not safe


TEACHER = """
import sys
import densecl.compat
densecl.compat.install()
import mmdet.models
from mmengine.config import Config
from densecl.engine import launch
from densecl.registry import MODELS
cfg = launch.load_config(sys.argv[1], None, None, 'none', safe=sys.argv[2] == 'safe')
try:
    MODELS.build(cfg.model)
except Exception as error:
    print(error)
try:
    print(Config.fromstring('a = 1', '.py'))  # as mmengine reads what a checkpoint holds
except Exception as error:
    print(error)
"""


@pytest.mark.parametrize('safe', [True, False])
def test_classes_that_read_configs_read_none(safe, tmp_path):
    """A teacher of mmdet is built from a config file, here a json that has a program as its base."""
    pytest.importorskip('mmdet')
    (tmp_path / 'evil.py').write_text(f'open({str(tmp_path / "ran")!r}, "w")\nmodel = dict(type="None")')
    (tmp_path / 'teacher.json').write_text(json.dumps(dict(_base_='evil.py')))
    part = dict(type='densecl.MLP', channels=[4, 4, 2])
    model = dict(
        type='mmdet.KnowledgeDistillationSingleStageDetector',
        backbone=part,
        neck=part,
        bbox_head=dict(type='mmdet.FCOSHead', num_classes=2, in_channels=8),
        teacher_config=str(tmp_path / 'teacher.json'),
    )
    (tmp_path / 'c.json').write_text(json.dumps(dict(model=model)))
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', TEACHER, tmp_path / 'c.json', 'safe' if safe else 'as usual'],
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
    )
    assert (tmp_path / 'ran').exists() is not safe, done.stdout + done.stderr
    assert done.stdout.count('--safe-config: no other config is read') == (2 if safe else 0), done.stdout
