"""Files are whole or absent, also of killed processes; which checkpoint of a folder is the newest."""

import errno
import fcntl
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from densecl import files
from densecl.files import atomic_write, checkpoints_of, remove_leftovers, sha256_of, write_json

WRITER = """
import sys, time
from densecl.files import atomic_write
with atomic_write(sys.argv[1]) as temporary:
    open(temporary, 'wb').write(b'half')
    print('written', flush=True)
    time.sleep(60)
"""


@pytest.fixture
def writer(tmp_path):
    """A process that is in the middle of writing ``file``."""
    with subprocess.Popen(
        [sys.executable, '-c', WRITER, str(tmp_path / 'file')], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == 'written\n'
        yield process
        process.kill()


def test_a_folder_is_not_written_over(tmp_path):
    with pytest.raises(IsADirectoryError, match='is a folder; give the name of a file'):
        write_json(tmp_path, {})
    assert list(tmp_path.iterdir()) == []
    assert write_json(tmp_path / 'new/a.json', dict(a=1)).read_text() == '{\n "a": 1\n}\n'


def test_leftovers_of_the_dead_are_removed_and_those_of_the_living_stay(writer, tmp_path):
    assert remove_leftovers(tmp_path) == []
    (left,) = tmp_path.iterdir()
    (tmp_path / '.own.tmp').touch()  # of somebody else
    writer.kill()
    writer.wait()
    assert left.is_file() and not (tmp_path / 'file').exists()
    assert remove_leftovers(tmp_path) == [left]
    assert [path.name for path in tmp_path.iterdir()] == ['.own.tmp']


def test_an_error_leaves_the_former_file(tmp_path):
    file = tmp_path / 'file'
    file.write_text('former')
    with pytest.raises(ZeroDivisionError), atomic_write(file) as temporary:
        Path(temporary).write_text('half')
        raise ZeroDivisionError
    assert [p.name for p in tmp_path.iterdir()] == ['file'] and file.read_text() == 'former'
    with atomic_write(file) as temporary:
        Path(temporary).write_text('new')
    assert file.read_text() == 'new' and file.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


@pytest.mark.parametrize(
    ('error', 'free', 'said'),
    [
        (OSError(errno.ENOSPC, 'No space left on device'), 10**9, 'No space left on device: .*a.pth'),
        (
            RuntimeError('[enforce fail at inline_container.cc:672] . unexpected pos'),
            0,
            'No space left .*a.pth',
        ),
        (RuntimeError('another'), 10**9, 'another'),
        (OSError(errno.EIO, 'Input/output error'), 0, 'Input/output'),
    ],
)
def test_a_full_disk_is_told_with_the_file(error, free, said, tmp_path, monkeypatch):
    monkeypatch.setattr(files.shutil, 'disk_usage', lambda folder: SimpleNamespace(free=free))
    with pytest.raises((OSError, RuntimeError), match=said), atomic_write(tmp_path / 'a.pth'):
        raise error
    assert not list(tmp_path.iterdir())


def test_leftovers_go_from_disks_that_lock_only_files_open_for_writing(tmp_path, monkeypatch):
    """As NFS does, by flock(2)."""
    lock = fcntl.flock

    def lock_as_nfs(file, how):
        if how & fcntl.LOCK_EX and fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(9, 'Bad file descriptor')
        lock(file, how)

    monkeypatch.setattr(fcntl, 'flock', lock_as_nfs)
    left = tmp_path / '.iter_4.pth.abcdefgh.tmp'
    left.touch()
    assert remove_leftovers(tmp_path) == [left]


def written(folder, *names):
    """Checkpoints in the order of writing, a second apart, in epochs of 5 iterations; dates in the order."""
    for i, name in enumerate(names):
        kind, _, number = name.removesuffix('.pth').partition('_')
        if number.isdigit():
            iteration = int(number) * (5 if kind == 'epoch' else 1)
            torch.save(dict(meta=dict(iter=iteration, time=f'20260102_0304{i:02d}')), folder / name)
        else:
            (folder / name).touch()
    dated(folder, *names)


def dated(folder, *names):
    begin = time.time() - 1000
    for i, name in enumerate(names):
        os.utime(folder / name, (begin + i, begin + i))


@pytest.mark.parametrize(
    'names, last, order',
    [
        (('iter_9.pth', 'iter_10.pth'), 'iter_10.pth', 'iter_10 iter_9'),
        (('iter_9.pth', 'iter_10.pth'), 'iter_9.pth', 'iter_10 iter_9'),  # killed before it was named
        (('iter_9.pth', 'iter_10.pth'), 'iter_8.pth', 'iter_10 iter_9'),  # the named one was deleted
        (('iter_9.pth', 'iter_10.pth'), '', 'iter_10 iter_9'),
        (('iter_9.pth', 'iter_10.pth'), 'moved/iter_9.pth', 'iter_10 iter_9'),
        (('iter_10.pth', 'iter_9.pth'), 'iter_10.pth', 'iter_10 iter_9'),  # the clock was set back
        (('iter_30.pth', 'iter_10.pth'), 'iter_10.pth', 'iter_10 iter_30'),  # gone on from an earlier one
        (('epoch_1.pth', 'iter_7.pth', 'epoch_2.pth'), 'epoch_2.pth', 'epoch_2 iter_7 epoch_1'),
        (('epoch_1.pth', 'iter_7.pth'), 'epoch_1.pth', 'iter_7 epoch_1'),
        (('epoch_1.pth', 'iter_7.pth'), 'iter_7.pth', 'iter_7 epoch_1'),
        (('epoch_90.pth', 'epoch_100.pth'), '', 'epoch_100 epoch_90'),
        (('best_dense.pth', 'start.pth', '.iter_4.pth.x.tmp'), 'iter_4.pth', ''),
    ],
)
@pytest.mark.parametrize('copied', ['with dates', 'in order', 'backwards', 'at once'])
def test_checkpoints_newest_first(names, last, order, copied, tmp_path):
    written(tmp_path, *names)
    dates = {'in order': sorted(names), 'backwards': sorted(names, reverse=True)}.get(copied, names)
    dated(tmp_path, *dates)
    if copied == 'at once':
        for name in names:
            os.utime(tmp_path / name, (1, 1))
    (tmp_path / 'last_checkpoint').write_text(last)
    assert [path.stem for path in checkpoints_of(tmp_path)] == order.split()
    if last and not (tmp_path / Path(last).name).is_file():  # a missing one is as a stale one
        (tmp_path / 'last_checkpoint').unlink()
        assert [path.stem for path in checkpoints_of(tmp_path)] == order.split()


def test_damaged_checkpoints_go_by_their_dates_and_numbers(tmp_path):
    names = 'iter_9.pth', 'epoch_2.pth', 'iter_12.pth', 'iter_13.pth'
    for name in names:
        (tmp_path / name).write_text('damaged')
    dated(tmp_path, *names)
    assert [path.name for path in checkpoints_of(tmp_path)] == [*reversed(names)]
    (tmp_path / 'last_checkpoint').write_text('iter_12.pth')
    assert [path.stem for path in checkpoints_of(tmp_path)] == ['iter_13', 'iter_12', 'epoch_2', 'iter_9']


def test_a_last_checkpoint_elsewhere_counts(tmp_path):
    (tmp_path / 'run').mkdir()
    (tmp_path / 'elsewhere').mkdir()
    written(tmp_path / 'elsewhere', 'step_4.pth')
    (tmp_path / 'run/last_checkpoint').write_text(str(tmp_path / 'elsewhere/step_4.pth'))
    assert checkpoints_of(tmp_path / 'run') == [tmp_path / 'elsewhere/step_4.pth']
    assert checkpoints_of(tmp_path / 'none') == []


def test_a_copied_run_has_its_own_checkpoints(tmp_path):
    for name in ('run', 'copy'):
        (tmp_path / name).mkdir()
        written(tmp_path / name, *(('epoch_1.pth', 'epoch_2.pth') if name == 'run' else ('epoch_1.pth',)))
        (tmp_path / name / 'last_checkpoint').write_text(str(tmp_path / 'run/epoch_2.pth'))
    assert checkpoints_of(tmp_path / 'copy') == [tmp_path / 'copy/epoch_1.pth']


def test_checksum_of_a_file(tmp_path):
    (tmp_path / 'x').write_bytes(b'abc' * 10**6)
    assert sha256_of(tmp_path / 'x') == hashlib.sha256(b'abc' * 10**6).hexdigest()
