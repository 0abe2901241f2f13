"""A resumed run equals the uninterrupted one, bit for bit."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from densecl.compat import load_checkpoint
from densecl.datasets.unreadable import DataError
from densecl.engine import launch
from densecl.engine.resume import changed_settings
from densecl.tools import run_tool

TRAIN = Path(__file__).parents[2] / 'tools/train.py'


def assert_same(a, b, where=''):
    if torch.is_tensor(a):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_same(a[key], b[key], f'{where}.{key}')
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f'{where}[{i}]')
    else:
        assert a == b, where


def same_checkpoint(path, other):
    a, b = load_checkpoint(path), load_checkpoint(other)
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        assert_same(a[part], b[part], part)
    assert_same(a['collapse'], b['collapse'], 'collapse')
    logs = [c['message_hub']['log_scalars'] for c in (a, b)]
    for name in ('train/loss', *(name for name in logs[0] if name.endswith('_vendi'))):
        assert logs[0][name]._log_history.tolist() == logs[1][name]._log_history.tolist()
    assert len(logs[0]['train/loss']._log_history) == a['meta']['iter']


def resumed(cfg: Config, checkpoint, work_dir) -> Config:
    """The config of a run that goes on from a checkpoint, in a folder of its own."""
    again = cfg.copy()
    again.update(resume=True, load_from=str(checkpoint), work_dir=str(work_dir))
    return again


def said_in(work_dir) -> str:
    return ''.join(path.read_text() for path in Path(work_dir).glob('*/*.log'))


@pytest.fixture
def whole_run(tiny_config, tmp_path):
    cfg = tiny_config(**{'model.momentum': dict(start=0.9, end=1.0, _delete_=True)})
    cfg.default_hooks.collapse.interval = (
        3  # rows of several steps, and of both epochs, are in each measurement
    )
    launch.build_runner(cfg).train()
    return cfg, tmp_path / 'run'


def test_resume_from_any_iteration_equals_the_uninterrupted_run(whole_run, tmp_path):
    cfg, run = whole_run
    assert sorted(p.name for p in run.glob('iter_*.pth'))[-1] == 'iter_9.pth'
    for iteration in (1, 4, 5, 6, 9):  # 5 is the end of the first epoch
        folder = tmp_path / f'resumed_{iteration}'
        launch.build_runner(resumed(cfg, run / f'iter_{iteration}.pth', folder)).train()
        same_checkpoint(run / 'iter_10.pth', folder / 'iter_10.pth')
        assert 'other settings' not in said_in(folder)


@pytest.mark.parametrize('by_epoch', [True, False])
def test_a_checkpoint_that_falls_inside_an_accumulated_step_waits_for_its_end(
    by_epoch, tiny_config, tmp_path
):
    """Steps of two iterations, epochs of five: the first epoch ends inside the third step."""
    cfg = tiny_config(**{'optim_wrapper.accumulative_counts': 2, 'model.momentum': 0.9})
    cfg.default_hooks.checkpoint.update(by_epoch=by_epoch, interval=1 if by_epoch else 5)
    launch.build_runner(cfg).train()
    names = [f'epoch_{n}.pth' for n in (1, 2)] if by_epoch else [f'iter_{n}.pth' for n in (6, 10)]
    first, last = (tmp_path / 'run' / name for name in names)
    assert load_checkpoint(first)['meta']['iter'] == 6
    launch.build_runner(resumed(cfg, first, tmp_path / 'again')).train()
    same_checkpoint(last, tmp_path / 'again' / last.name)


def test_sigterm_saves_and_resume_auto_goes_on(tiny_config, tmp_path):
    cfg = tiny_config()
    cfg.default_hooks.checkpoint.interval = 1000
    cfg.default_hooks.logger = dict(type='LoggerHook', interval=1)
    cfg.log_level = 'INFO'
    cfg.train_cfg.max_epochs = 60
    cfg.train_dataloader.num_workers = 1
    config = tmp_path / 'config.py'
    cfg.dump(config)
    run = tmp_path / 'run'
    command = [sys.executable, str(TRAIN), str(config), '--work-dir', str(run)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        bufsize=1,
        start_new_session=True,
    )
    for line in process.stdout:
        if 'img/s' in line:
            break
    for _ in range(2):  # as launchers do: to the process and to its group; the data worker gets it too
        os.killpg(process.pid, signal.SIGTERM)
        time.sleep(0.01)
    rest = process.stdout.read()
    assert process.wait(timeout=60) == 143, rest[-2000:]
    assert 'SIGTERM: saved' in rest
    saved = Path((run / 'last_checkpoint').read_text())
    iteration = load_checkpoint(saved)['meta']['iter']
    assert saved.name == f'iter_{iteration}.pth'
    time.sleep(1)  # mmengine names a run's log folder by the second
    epochs = iteration // 5 + 1
    options = ['--resume', '--cfg-options', f'train_cfg.max_epochs={epochs}']
    run_tool('train', [str(config), '--work-dir', str(run), *options])
    assert load_checkpoint(run / f'iter_{epochs * 5}.pth')['meta']['iter'] == epochs * 5


def test_other_steps_an_epoch_go_on_at_an_epoch_boundary(whole_run, tmp_path):
    cfg, run = whole_run
    again = resumed(cfg, run / 'iter_5.pth', tmp_path / 'other')
    again.train_dataloader.batch_size = 5  # 2 steps an epoch, there were 5
    runner = launch.build_runner(again)
    runner.train()
    assert runner.iter == 4  # the second epoch was trained, whole
    assert (runner.model.clock.step, runner.model.clock.total) == (4, 4)
    assert int(runner.model.step) == 4
    assert (tmp_path / 'other' / 'iter_4.pth').is_file()
    changed = 'goes on with other settings than before: train_dataloader.batch_size: 2, now 5\n'
    assert changed in said_in(again.work_dir)


def test_settings_that_changed():
    before = Config(dict(lr=0.1, amp=dict(dtype='float16'), steps=[dict(to=1), dict(to=2)], sizes=(1, 2)))
    now = Config(dict(lr=0.1, amp=dict(dtype='bfloat16'), steps=[dict(to=1)], sizes=(1, 2), work_dir='a'))
    assert changed_settings(before.pretty_text, now) == [
        "amp.dtype: 'float16', now 'bfloat16'",
        'steps.1.to: 2, now not given',
    ]
    assert changed_settings(before.pretty_text, before) == []
    assert changed_settings(None, now) == changed_settings('no config', now) == []


def test_data_that_do_not_fill_a_batch_are_refused(tiny_config):
    cfg = tiny_config(**{'train_dataloader.batch_size': 11})
    with pytest.raises(ValueError, match='10 images do not fill one batch of 11'):
        launch.build_runner(cfg).train()


def test_the_seed_governs_the_views(tiny_config):
    runners = [launch.build_runner(tiny_config(**{'randomness.seed': seed})) for seed in (3, 4)]
    datasets = [runner.build_dataloader(runner._train_dataloader).dataset for runner in runners]
    assert [d.seed for d in datasets] == [3, 4]


def test_an_unreadable_file_ends_the_run_and_its_workers(tiny_config, tmp_path):
    cfg = tiny_config()
    (tmp_path / 'photos' / 'broken.jpg').write_bytes(b'not a jpeg')
    cfg.train_dataloader.update(num_workers=1, persistent_workers=True)
    config = tmp_path / 'config.py'
    cfg.dump(config)
    done = subprocess.run(
        [sys.executable, str(TRAIN), str(config)], capture_output=True, text=True, timeout=120
    )
    said = [line for line in done.stderr.splitlines() if line.startswith('train.py: ')]
    assert done.returncode == 2
    assert len(said) == 1 and 'broken.jpg' in said[0] and 'Traceback' not in done.stderr, done.stderr


def test_replaced_images_are_listed_and_too_many_stop_in_one_line(tiny_config, tmp_path):
    cfg = tiny_config(**{'train_cfg.max_epochs': 1})
    (tmp_path / 'photos' / 'broken.jpg').write_bytes(b'not a jpeg')
    (tmp_path / 'photos' / 'empty.jpg').write_bytes(b'')
    cfg.train_dataloader.num_workers = 1
    cfg.train_dataloader.dataset.update(on_error='skip', max_unreadable=0.5)
    launch.build_runner(cfg).train()
    listed = (Path(cfg.work_dir) / 'unreadable_images.csv').read_text().splitlines()
    assert listed == ['image,reason', 'broken.jpg,not an image', 'empty.jpg,empty']
    cfg.train_dataloader.dataset.max_unreadable = 0
    cfg.experiment_name = 'strict'
    with pytest.raises(DataError, match=r'^1 images cannot be read .*max_unreadable=0 allows') as caught:
        launch.build_runner(cfg).train()
    assert '\n' not in str(caught.value)


def test_a_resumed_run_counts_unreadable_images_on(tiny_config, tmp_path):
    photos, run = tmp_path / 'photos', tmp_path / 'run'
    (photos / 'broken.jpg').write_bytes(b'not a jpeg')
    (photos / 'empty.jpg').write_bytes(b'')
    cfg = tiny_config(**{'train_cfg.max_epochs': 1})
    cfg.train_dataloader.dataset.update(on_error='skip', max_unreadable=0.5)
    launch.build_runner(cfg).train()

    def again(epochs: int, limit: float = 0.5) -> dict[str, str]:
        other = resumed(cfg, run / 'iter_6.pth', run)
        other.train_cfg.max_epochs, other.train_dataloader.dataset.max_unreadable = epochs, limit
        runner = launch.build_runner(other)
        runner.train()
        return runner.train_dataloader.dataset.unreadable

    assert load_checkpoint(run / 'iter_6.pth')['unreadable'].shape == (12,)
    with pytest.raises(DataError, match='^2 images cannot be read .*of 12 asked for'):
        again(2, limit=0.1)
    shutil.copy(next(p for p in photos.iterdir() if p.stat().st_size > 99), photos / 'empty.jpg')
    assert again(2) == {'broken.jpg': 'not an image'}  # a file that was mended counts no more
