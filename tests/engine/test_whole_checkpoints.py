"""A run goes on from the newest whole checkpoint; one that is cut off or altered is named and passed over."""

import ctypes
import logging
import os
import re
import shutil
import signal
import traceback
import zipfile
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric, Evaluator
from torch.utils.data import DataLoader, TensorDataset

from densecl.compat import load_checkpoint
from densecl.engine import launch
from densecl.engine.hooks import PretrainCheckpointHook

CHECKPOINTS = dict(type='PretrainCheckpointHook', interval=2, by_epoch=False, max_keep_ckpts=2)


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    return tmp_path_factory.mktemp('trained') / 'toy'


@pytest.fixture
def run(toy_runner, trained, tmp_path):
    """The folder of a run of 24 iterations that kept two checkpoints."""
    if not trained.is_dir():
        toy_runner(dict(type='SGD', lr=0.1), default_hooks=dict(checkpoint=CHECKPOINTS)).train()
        (tmp_path / 'toy').rename(trained)
    return shutil.copytree(trained, tmp_path / 'toy')


@pytest.fixture
def said(monkeypatch):
    """What the launch says."""
    lines = []
    monkeypatch.setattr('densecl.engine.resume.print_log', lambda line, *_: lines.append(line))
    return lines


def resumed_from(folder) -> str | None:
    cfg = Config(dict(work_dir=str(folder), load_from='start.pth'))
    launch.use_resume(cfg, 'auto')
    return Path(cfg.load_from).name if cfg.resume else None


def test_a_run_keeps_the_newest_and_names_the_last(run, said):
    assert sorted(p.name for p in run.glob('*.pth')) == ['iter_22.pth', 'iter_24.pth']
    assert (run / 'last_checkpoint').read_text().endswith('iter_24.pth')
    assert resumed_from(run) == 'iter_24.pth' and not said


def test_a_copy_without_dates_goes_on_where_the_run_was(run, said):
    os.utime(run / 'iter_24.pth', (1, 1))
    assert resumed_from(run) == 'iter_24.pth'
    (run / 'last_checkpoint').unlink()
    assert resumed_from(run) == 'iter_24.pth' and not said


def parts(path) -> dict[str, int]:
    """Where, in the file, the data of its parts are; the middle of its directory; its end."""
    with zipfile.ZipFile(path) as file:
        infos = file.infolist()
        raw = path.read_bytes()
        offset = {}
        for info in infos:
            names = int.from_bytes(raw[info.header_offset + 26 : info.header_offset + 28], 'little')
            extra = int.from_bytes(raw[info.header_offset + 28 : info.header_offset + 30], 'little')
            offset[info.filename.partition('/')[2]] = info.header_offset + 30 + names + extra
        offset['offset in directory'] = file.start_dir + 42
    return offset | {'end': len(raw) - 22}


@pytest.mark.parametrize('part', ['data.pkl', 'data/0', 'data/3', 'offset in directory', 'end'])
def test_an_altered_bit_is_named_and_passed_over(part, run, said):
    file = run / 'iter_24.pth'
    raw = bytearray(file.read_bytes())
    raw[parts(file)[part]] ^= 1
    file.write_bytes(raw)
    assert resumed_from(run) == 'iter_22.pth'
    (line,) = said
    assert 'passed over' in line and str(file) in line
    with pytest.raises(ValueError, match='iter_24'):
        load_checkpoint(file)


def test_torch_alone_loads_an_altered_tensor(run):
    """Why the checksums are compared: without it, this would be trained on."""
    file = run / 'iter_24.pth'
    raw = bytearray(file.read_bytes())
    raw[parts(file)['data/0'] + 3] ^= 64
    before = load_checkpoint(file)['state_dict']
    file.write_bytes(raw)
    after = torch.load(file, weights_only=True)['state_dict']
    assert not all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize('share', [0, 0.01, 0.5, 0.999])
def test_a_truncated_file_is_named_and_passed_over(share, run, said):
    file = run / 'iter_24.pth'
    raw = file.read_bytes()
    file.write_bytes(raw[: int(share * len(raw))])
    assert resumed_from(run) == 'iter_22.pth'
    assert 'iter_24.pth' in said[0] and 'cut off' in said[0]


def test_weights_alone_are_no_run(run, said):
    torch.save({'state_dict': {}}, run / 'iter_26.pth')
    assert resumed_from(run) == 'iter_24.pth'
    assert 'iter_26.pth' in said[0] and 'meta.iter' in said[0]


def test_without_a_whole_one_nothing_begins(run, said):
    for file in run.glob('*.pth'):
        file.write_bytes(b'')
    with pytest.raises(ValueError, match='none of the 2 checkpoints in .* is whole'):
        resumed_from(run)
    assert len(said) == 2
    with pytest.raises(ValueError, match='iter_24.pth'):
        launch.use_resume(Config(dict(work_dir='x')), str(run / 'iter_24.pth'))


def test_an_empty_folder_starts_anew_and_keeps_its_start(tmp_path):
    cfg = Config(dict(work_dir=str(tmp_path), load_from='start.pth'))
    launch.use_resume(cfg, 'auto')
    assert not cfg.resume and cfg.load_from == 'start.pth'


def test_of_several_processes_the_first_chooses(over_processes):
    first, other = over_processes(Path(__file__).with_name('other_files.py'), 2)
    for name, found in dict(same=4, newer=4, damaged=2).items():
        assert first[name] == other[name] == f'run/iter_{found}.pth'
    assert first['none'] == other['none'] == 'anew with start.pth'
    assert (
        first['broken'] == other['broken'] and 'none of the 1 checkpoints in run is whole' in first['broken']
    )
    assert first['late'] == 'run/iter_4.pth'
    assert other['late'].startswith(
        '--resume: process 1 does not see run/iter_4.pth, where process 0 goes on'
    )


class Score(BaseMetric):
    """The next of some values."""

    def __init__(self, values: list[float]) -> None:
        super().__init__()
        self.values = iter(values)

    def process(self, data_batch, data_samples) -> None:
        self.results.append(0)

    def compute_metrics(self, results: list) -> dict[str, float]:
        value = next(self.values)
        return dict(acc=value, iou=-value)


@pytest.fixture
def validated(toy_runner, tmp_path):
    """``validated([0.3, 0.5])``: a runner of an epoch for each score, that keeps the best and one regular."""

    def make(scores: list[float], best='acc', **options):
        checkpoints = dict(type='PretrainCheckpointHook', interval=1, max_keep_ckpts=1, save_best=best)
        return toy_runner(
            dict(type='SGD', lr=0.1),
            default_hooks=dict(checkpoint=dict(checkpoints, rule='greater')),
            train_cfg=dict(by_epoch=True, max_epochs=len(scores)),
            val_dataloader=DataLoader(TensorDataset(torch.ones(2, 3)), batch_size=2),
            val_cfg=dict(),
            val_evaluator=Evaluator(Score(scores)),
            **options,
        )

    return make


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob('*.pth'))


@pytest.mark.parametrize('best', ['acc', 'auto', ['acc', 'iou']])
def test_the_best_is_kept_and_the_former_removed(validated, tmp_path, best):
    runner = validated([0.3, 0.5, 0.4, 0.6, 0.1], best)
    runner.train()
    iou = ['best_iou_epoch_5.pth'] if isinstance(best, list) else []
    assert names(tmp_path / 'toy') == ['best_acc_epoch_4.pth', *iou, 'epoch_5.pth']
    hook = next(hook for hook in runner.hooks if isinstance(hook, PretrainCheckpointHook))
    kept = hook.best_ckpt_path_dict.values() if iou else [hook.best_ckpt_path]
    assert [Path(path).name for path in kept] == ['best_acc_epoch_4.pth', *iou]


def killed(train, owner, name: str, when) -> None:
    """Train in a child that is killed in a call of ``owner.name``."""
    child = os.fork()
    if not child:
        called = getattr(owner, name)

        def dies(*args, **kwargs):
            if when(*args):
                os.kill(os.getpid(), signal.SIGKILL)
            return called(*args, **kwargs)

        try:
            setattr(owner, name, dies)
            train()
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL


def test_killed_while_the_best_is_written_the_former_is_there(validated, tmp_path):
    def when(_, path):
        return Path(path).name == 'best_acc_epoch_2.pth'

    killed(validated([0.3, 0.5]).train, os, 'replace', when)
    assert names(tmp_path / 'toy') == ['best_acc_epoch_1.pth', 'epoch_2.pth']
    load_checkpoint(tmp_path / 'toy/best_acc_epoch_1.pth')


def test_killed_before_the_former_is_removed_it_goes_later(validated, tmp_path):
    def when(_, paths):
        return any('best_acc_epoch_1' in path for path in paths)

    killed(validated([0.3, 0.5]).train, PretrainCheckpointHook, '_remove', when)
    folder = tmp_path / 'toy'
    assert names(folder) == ['best_acc_epoch_1.pth', 'best_acc_epoch_2.pth', 'epoch_2.pth']
    runner = validated([0.5, 0.5, 0.4], resume=True, load_from=str(folder / 'epoch_2.pth'))
    runner.train()
    assert names(folder) == ['best_acc_epoch_2.pth', 'epoch_3.pth']


def test_the_old_checkpoint_goes_after_the_new_one_is_there(toy_runner, tmp_path, monkeypatch):
    folder, seen = tmp_path / 'toy', []
    remove = PretrainCheckpointHook._remove

    def watched(self, paths):
        seen.append((sorted(p.name for p in folder.glob('*.pth')), [Path(p).name for p in paths]))
        if len(seen) < 4:
            remove(self, paths)

    monkeypatch.setattr(PretrainCheckpointHook, '_remove', watched)
    options = dict(default_hooks=dict(checkpoint=dict(CHECKPOINTS, max_keep_ckpts=1)))
    toy_runner(dict(type='SGD', lr=0.1), train_cfg=dict(by_epoch=True, max_epochs=1), **options).train()
    assert seen == [
        (['iter_2.pth'], []),
        (['iter_2.pth', 'iter_4.pth'], ['iter_2.pth']),
        (['iter_4.pth', 'iter_6.pth'], ['iter_4.pth']),
    ]


def test_a_run_killed_before_the_removal_removes_when_it_goes_on(toy_runner, tmp_path, monkeypatch):
    folder, remove = tmp_path / 'toy', PretrainCheckpointHook._remove

    def until_the_last(self, paths):
        if not (folder / 'iter_6.pth').is_file():
            remove(self, paths)

    options = dict(default_hooks=dict(checkpoint=dict(CHECKPOINTS, max_keep_ckpts=1)))
    options['train_cfg'] = dict(by_epoch=True, max_epochs=1)
    monkeypatch.setattr(PretrainCheckpointHook, '_remove', until_the_last)
    toy_runner(dict(type='SGD', lr=0.1), **options).train()
    assert sorted(p.name for p in folder.glob('*.pth')) == ['iter_4.pth', 'iter_6.pth']
    monkeypatch.undo()
    again = dict(options, resume=True, load_from=str(folder / 'iter_6.pth'))
    toy_runner(dict(type='SGD', lr=0.1), **again).train()
    assert not (folder / 'iter_4.pth').exists()


def mount_small(disk: Path) -> bool:
    """Give this process, which has one thread, a disk of 192 kB of its own; whether that was possible."""
    libc, user, group = ctypes.CDLL(None), os.getuid(), os.getgid()
    if libc.unshare(0x10020000):  # CLONE_NEWUSER | CLONE_NEWNS
        return False
    for name, text in (('setgroups', 'deny'), ('uid_map', f'0 {user} 1'), ('gid_map', f'0 {group} 1')):
        Path('/proc/self', name).write_text(text)
    return libc.mount(b'none', str(disk).encode(), b'tmpfs', 0, b'size=192k') == 0


def on_small_disk(disk: Path, train, said: Path) -> None:
    """Train in a child that has a small disk; what it says, and what is left."""
    child = os.fork()
    if not child:
        try:
            if not mount_small(disk):
                said.write_text('no disk')
                os._exit(0)
            try:
                train()
            except SystemExit as error:
                said.write_text(str(error.code))
            shutil.copytree(disk, said.with_name('copy'))
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def test_a_full_disk_ends_in_one_line(toy_runner, tmp_path, capfd):
    disk, said = tmp_path / 'toy', tmp_path / 'said'
    disk.mkdir()
    on_small_disk(disk, lambda: toy_runner(dict(type='SGD', lr=0.1)).train(), said)
    if said.read_text() == 'no disk':
        pytest.skip('needs a user namespace, to mount a small disk')
    line = r'.*toy: No space left on device \(0.0 MB free\), .*iter_\d+.pth is whole: make room and go on .*'
    assert re.fullmatch(line, said.read_text())
    copy = tmp_path / 'copy'
    named = Path((copy / 'last_checkpoint').read_text()).name
    assert named in said.read_text() and load_checkpoint(copy / named)['meta']['iter'] > 1
    assert not list(copy.glob('.*.tmp')) and 'Traceback' not in capfd.readouterr().err


def test_a_log_that_cannot_be_written_stops_the_run(toy_runner):
    runner = toy_runner(
        dict(type='SGD', lr=0.1), default_hooks=dict(logger=dict(type='LoggerHook', interval=1))
    )
    file = next(h for h in runner.logger.handlers if isinstance(h, logging.FileHandler))
    file.setStream(Path('/dev/full').open('w'))  # noqa: SIM115  (the handler closes it)
    runner.logger.setLevel('INFO')
    with pytest.raises(SystemExit, match='No space left on device .*there is no checkpoint yet'):
        runner.train()
    runner.logger.removeHandler(file)  # loggers outlive their runs


def test_the_config_in_a_checkpoint_is_not_run(tiny_config, tmp_path):
    """mmengine < 0.5 stored it as ``meta['config']``, and its resume still runs that as Python."""
    launch.build_runner(tiny_config(**{'train_cfg.max_epochs': 1})).train()
    path = max((tmp_path / 'run').glob('*.pth'), key=lambda file: file.stat().st_mtime_ns)
    checkpoint, trace = load_checkpoint(path), tmp_path / 'trace'
    checkpoint['meta']['config'] = f'open({str(trace)!r}, "w").close()'
    torch.save(checkpoint, path)
    cfg = tiny_config(**{'train_cfg.max_epochs': 2})
    cfg.resume, cfg.load_from = True, str(path)
    runner = launch.build_runner(cfg)
    runner.train()
    assert runner.epoch == 2 and not trace.exists()
