"""The unfinished file, cut, damaged or left by killed processes, and the cache of several workers."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from densecl.proposals import Cached, ProposalStore, RandomBoxes, writer
from densecl.proposals.shard import Shard
from densecl.structures import Proposals

SETTINGS = dict(provider=dict(type='GridBoxes', rows=2))
IMAGE = np.zeros((80, 100, 3), np.uint8)


def box(number):
    return Proposals([[number, 0, number + 1, 2]], (80, 100))


def left_behind(path, count=6):
    """What a writer of batches of two leaves when it is stopped, and where each batch ends."""
    ends = []
    with pytest.raises(KeyboardInterrupt), ProposalStore.write(path, SETTINGS) as writing:
        for number in range(count):
            writing[f'name{number}'] = box(number)
            ends.append(os.path.getsize(f'{path}.part'))
        raise KeyboardInterrupt
    return Path(f'{path}.part').read_bytes(), ends[1::2]


@pytest.fixture(autouse=True)
def twos(monkeypatch):
    monkeypatch.setattr(writer, 'BATCH', 2)


@pytest.mark.filterwarnings('ignore:.*images are to be made again')
def test_cut_anywhere_the_whole_batches_stay(tmp_path):
    data, ends = left_behind(tmp_path / 'a')
    assert len(ends) == 3 and ends[-1] == len(data)
    near = [end + step for end in ends for step in (-1, 0, 1)]
    for length in {*range(0, len(data) + 1, 7), *near}:
        (tmp_path / 'b.part').write_bytes(data[:length])
        whole = 2 * sum(length >= end for end in ends)
        with ProposalStore.write(tmp_path / 'b', SETTINGS) as writing:
            assert len(writing) == whole
            assert [f'name{i}' in writing for i in range(6)] == [i < whole for i in range(6)]
            writing['new'] = box(9)
        store = ProposalStore.open(tmp_path / 'b')
        assert list(store) == [*(f'name{i}' for i in range(whole)), 'new']
        assert [store[name].boxes[0, 0] for name in store] == [*range(whole), 9]
        assert not (tmp_path / 'b.part').exists()
        (tmp_path / 'b').unlink()


def test_what_was_cut_off_is_said(tmp_path):
    data, ends = left_behind(tmp_path / 'a')
    (tmp_path / 'a.part').write_bytes(data[:-3])
    lost = ends[2] - ends[1] - 3
    message = rf'a\.part: the last {lost} bytes are damaged, or were not finished, .* up to 2 images are'
    with pytest.warns(UserWarning, match=message), ProposalStore.write(tmp_path / 'a', SETTINGS) as writing:
        assert len(writing) == 4


def test_damage_ends_the_intact_part(tmp_path):
    data, ends = left_behind(tmp_path / 'a')
    changed = bytearray(data)
    changed[data.index(b'name2name3')] ^= 1  # in the second batch's ids: its framing is whole
    (tmp_path / 'a.part').write_bytes(changed)
    with pytest.warns(UserWarning, match='up to 4 images are to be made again'):
        writing = ProposalStore.write(tmp_path / 'a', SETTINGS)
    with writing:
        assert len(writing) == 2 and 'name1' in writing and 'name4' not in writing
    assert list(ProposalStore.open(tmp_path / 'a')) == ['name0', 'name1']


def test_other_settings_and_other_files(tmp_path):
    data, ends = left_behind(tmp_path / 'a')
    other = dict(provider=dict(type='GridBoxes', rows=3))
    with pytest.raises(ValueError, match='a.part holds proposals made with other settings'):
        ProposalStore.write(tmp_path / 'a', other)
    assert (tmp_path / 'a.part').read_bytes() == data
    (tmp_path / 'c.part').write_bytes(data[: ends[0] - 1])  # nothing whole in it
    with pytest.warns(UserWarning), ProposalStore.write(tmp_path / 'c', other) as writing:
        writing['x'] = box(1)
    assert ProposalStore.open(tmp_path / 'c').settings['provider']['rows'] == 3
    damaged = bytearray(data)
    damaged[data.index(b'provider')] ^= 1  # in the settings: no reason to throw everything away
    (tmp_path / 'a.part').write_bytes(damaged)
    with pytest.raises(ValueError, match='other settings'):
        ProposalStore.write(tmp_path / 'a', SETTINGS)
    damaged[5] ^= 255  # in the length of the start
    for content in (bytes(damaged), b'something else entirely', b'DCLPLOG1' + bytes(400)):
        (tmp_path / 'b.part').write_bytes(content)
        with pytest.raises(ValueError, match=r'b\.part is not an unfinished store, or damaged at its start'):
            ProposalStore.write(tmp_path / 'b', SETTINGS)
        assert (tmp_path / 'b.part').read_bytes() == content


def test_a_killed_process_loses_its_last_batch_only(tmp_path):
    code = f"""
import os, signal
from densecl.proposals import ProposalStore, writer
from densecl.structures import Proposals
writer.BATCH = 4
with ProposalStore.write({str(tmp_path / 'a')!r}, {SETTINGS!r}) as writing:
    for i in range(11):
        writing[f'name{{i:02d}}'] = Proposals([[i, 0, i + 1, 2]], (80, 100))
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, '-c', code])
    assert done.returncode == -signal.SIGKILL and not (tmp_path / 'a').exists()
    with ProposalStore.write(tmp_path / 'a', SETTINGS) as writing:
        assert len(writing) == 8 and 'name07' in writing
        for i in range(8, 11):
            writing[f'name{i:02d}'] = box(i)
    store = ProposalStore.open(tmp_path / 'a')
    assert [store[name].boxes[0, 0] for name in store] == list(range(11))


def test_a_slow_provider_loses_seconds(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, 'BATCH', 1000)
    clock = iter([0, 1, 2, 4, 6, 20, 21])
    with ProposalStore.write(tmp_path / 'a', SETTINGS) as writing:
        monkeypatch.setattr(time, 'monotonic', lambda: next(clock))
        sizes = []
        for number in range(4):
            writing[f'name{number}'] = box(number)
            sizes.append(os.path.getsize(tmp_path / 'a.part'))
    assert sizes[0] == sizes[1] == sizes[2] < sizes[3]  # the first image came at 0, the last at 6


def test_killed_before_the_stream_was_removed(tmp_path):
    data, _ = left_behind(tmp_path / 'a')
    with ProposalStore.write(tmp_path / 'a', SETTINGS):
        pass
    (tmp_path / 'a.part').write_bytes(data)
    with ProposalStore.write(tmp_path / 'a', SETTINGS, append=True) as writing:
        assert len(writing) == 6
        writing['name6'] = box(6)
    assert list(ProposalStore.open(tmp_path / 'a')) == [f'name{i}' for i in range(7)]


def test_one_writer_at_a_time(tmp_path):
    fork = multiprocessing.get_context('fork')
    ready, go_on = fork.Event(), fork.Event()
    left_behind(tmp_path / 'a')

    def hold():
        with ProposalStore.write(tmp_path / 'a', SETTINGS) as writing:
            writing['x'], writing['y'] = box(1), box(2)
            ready.set()
            go_on.wait(20)
            os.kill(os.getpid(), signal.SIGKILL)

    process = fork.Process(target=hold)
    process.start()
    assert ready.wait(20)
    with pytest.raises(BlockingIOError, match='another process is writing'):
        ProposalStore.write(tmp_path / 'a', SETTINGS)
    go_on.set()
    process.join()
    with ProposalStore.write(tmp_path / 'a', SETTINGS) as writing:  # the lock goes with the process
        assert len(writing) == 8


class Counted(RandomBoxes):
    """Writes down each call."""

    def __init__(self, calls):
        super().__init__(count=5)
        self.calls = calls

    def __call__(self, image, image_id):
        with open(self.calls, 'a') as file:
            file.write(image_id + '\n')
        return super().__call__(image, image_id)


def test_cache_of_several_workers(tmp_path):
    cached = Cached(Counted(tmp_path / 'calls'), tmp_path / 'cache')
    names = [f'{i}.jpg' for i in range(60)]
    fork = multiprocessing.get_context('fork')

    def work(seed):
        for name in np.random.default_rng(seed).permutation(names):
            cached(IMAGE, str(name))

    workers = [fork.Process(target=work, args=(seed,)) for seed in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    before = (tmp_path / 'calls').read_text()
    direct = RandomBoxes(count=5)
    for name in names:
        found = cached(IMAGE, name)
        np.testing.assert_allclose(found.boxes, direct(IMAGE, name).boxes, atol=1 / 16 + 1e-5)
    assert (tmp_path / 'calls').read_text() == before  # nothing twice once it is there
    files = [path for path in (tmp_path / 'cache').rglob('*') if path.is_file()]
    assert sorted(name for file in files for name in Shard(file)) == sorted(names)


def test_cache_says_the_same_cold_and_warm(tmp_path):
    config = dict(type='RandomBoxes', count=3)
    cold = Cached(config, tmp_path)(IMAGE, 'a').boxes
    warm = Cached(config, tmp_path)(IMAGE, 'a').boxes
    assert (cold == warm).all() and (cold * 8 % 1 == 0).all()
    with pytest.raises(ValueError, match='other settings'):
        Cached(dict(config, count=4), tmp_path)(IMAGE, 'a')
