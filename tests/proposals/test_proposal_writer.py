"""The unfinished file, damaged or left by killed processes, and the cache of several workers."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from densecl.proposals import Cached, DamagedStoreError, ProposalStore, RandomBoxes, writer
from densecl.proposals.shard import Shard
from densecl.structures import Proposals

SETTINGS = dict(provider=dict(type='GridBoxes', rows=2))
IMAGE = np.zeros((80, 100, 3), np.uint8)


def box(number):
    return Proposals([[number, 0, number + 1, 2]], (80, 100))


def left_behind(path, count=6):
    """The batches of two that a writer leaves when it is stopped."""
    with pytest.raises(KeyboardInterrupt), ProposalStore.write(path, SETTINGS) as writing:
        for number in range(count):
            writing[f'name{number}'] = box(number)
        raise KeyboardInterrupt
    assert not path.exists()
    return sorted(Path(f'{path}.part').glob('*.arrow'))


@pytest.fixture(autouse=True)
def twos(monkeypatch):
    monkeypatch.setattr(writer, 'BATCH', 2)


def test_what_was_left_is_gone_on_from(tmp_path):
    parts = left_behind(tmp_path / 'a', count=5)
    assert [list(Shard(part)) for part in parts] == [['name0', 'name1'], ['name2', 'name3'], ['name4']]
    with ProposalStore.write(tmp_path / 'a', SETTINGS) as writing:
        assert len(writing) == 5 and 'name4' in writing and 'name5' not in writing
        with pytest.raises(ValueError, match="proposals of 'name3' already"):
            writing['name3'] = box(3)
        writing['new'] = box(9)
    store = ProposalStore.open(tmp_path / 'a')
    assert [store[name].boxes[0, 0] for name in store] == [0, 1, 2, 3, 4, 9] and list(store)[5] == 'new'
    assert [path.name for path in tmp_path.iterdir()] == ['a']


def test_a_batch_that_is_cut_or_changed_is_named_with_its_images(tmp_path):
    part = left_behind(tmp_path / 'a')[1]
    data = part.read_bytes()
    changed = data.replace(b'name2name3', b'name2nbme3')
    cases = {
        data[:-9]: 'cut short or changed; lost are 0 of its 2 images',
        data[: len(data) // 2]: "cut short or changed; lost are 2 of its 2 images, from 'name2' to 'name3'",
        changed: "damaged; lost are 1 of its 2 images, from 'nbme3' to 'nbme3'",
    }
    for content, message in cases.items():
        part.write_bytes(content)
        with pytest.raises(DamagedStoreError, match=f'{part.name} is {message}.*remove it and make it anew'):
            ProposalStore.write(tmp_path / 'a', SETTINGS)
        assert part.read_bytes() == content
    part.unlink()  # as the message says
    with ProposalStore.write(tmp_path / 'a', SETTINGS) as writing:
        assert len(writing) == 4 and 'name2' not in writing and 'name4' in writing
        writing['name2'], writing['name3'] = box(2), box(3)
    assert list(ProposalStore.open(tmp_path / 'a')) == [f'name{i}' for i in range(6)]


def test_what_a_killed_process_was_writing_is_no_batch(tmp_path):
    part = left_behind(tmp_path / 'a')[0]
    for name in (f'.{part.name}.abcd1234.tmp', '.whole.abcd1234.tmp', 'whole'):
        (part.parent / name).write_bytes(part.read_bytes()[:100])
    with ProposalStore.write(tmp_path / 'a', SETTINGS) as writing:
        assert len(writing) == 6
    assert [path.name for path in tmp_path.iterdir()] == ['a']
    assert len(ProposalStore.open(tmp_path / 'a')) == 6


def test_other_settings(tmp_path):
    parts = left_behind(tmp_path / 'a')
    other = dict(provider=dict(type='GridBoxes', rows=3))
    with pytest.raises(ValueError, match=f'{parts[0].name} holds proposals made with other settings'):
        ProposalStore.write(tmp_path / 'a', other)
    assert sorted(Path(f'{tmp_path}/a.part').glob('*.arrow')) == parts
    for part in parts:
        part.unlink()
    with ProposalStore.write(tmp_path / 'a', other) as writing:  # nothing is left in it
        writing['x'] = box(1)
    assert ProposalStore.open(tmp_path / 'a').settings['provider']['rows'] == 3


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
    clock = iter([0, 1, 9, 29.5, 30.5])
    with ProposalStore.write(tmp_path / 'a', SETTINGS) as writing:
        monkeypatch.setattr(time, 'monotonic', lambda: next(clock))
        counts = []
        for number in range(4):
            writing[f'name{number}'] = box(number)
            counts.append(len(list((tmp_path / 'a.part').glob('*.arrow'))))
    assert counts == [0, 0, 0, 1]  # the first image came at 0, the last at 30.5


def test_killed_before_the_batches_were_removed(tmp_path):
    left_behind(tmp_path / 'a')
    shutil.copytree(tmp_path / 'a.part', tmp_path / 'kept')
    with ProposalStore.write(tmp_path / 'a', SETTINGS):
        pass
    shutil.copytree(tmp_path / 'kept', tmp_path / 'a.part')
    with ProposalStore.write(tmp_path / 'a', SETTINGS, append=True) as writing:
        assert len(writing) == 6
        writing['name6'] = box(6)
    assert list(ProposalStore.open(tmp_path / 'a')) == [f'name{i}' for i in range(7)]
    assert not (tmp_path / 'a.part').exists()


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
