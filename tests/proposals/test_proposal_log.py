"""The log, cut anywhere, and the cache of several workers."""

import multiprocessing
import os
import signal

import numpy as np
import pytest

from densecl.proposals import Cached, RandomBoxes
from densecl.proposals.log import Log, lookup, scan

SETTINGS = dict(provider=dict(type='GridBoxes', rows=2))
IMAGE = np.zeros((80, 100, 3), np.uint8)


def write(path, count=6):
    log = Log(path, SETTINGS)
    for number in range(count):
        log.append(b'name%d' % number, b'record' * number)
    log.close()
    return path.read_bytes()


def test_cut_anywhere_the_whole_records_stay(tmp_path):
    data = write(tmp_path / 'a.log')
    ends = [stop for _, stop in scan(data)[0].values()]
    for length in range(len(data) + 1):
        path = tmp_path / 'b.log'
        path.write_bytes(data[:length])
        log = Log(path, SETTINGS)
        whole = sum(length >= end for end in ends[1:])
        assert list(log.entries) == [b'name%d' % i for i in range(whole)]
        assert all(log.read(b'name%d' % i) == b'record' * i for i in range(whole))
        log.append(b'new', b'after the cut')
        log.close()
        held = path.read_bytes()
        assert lookup(held, b'new') == b'after the cut' and lookup(held, b'none') is None
        assert scan(held)[1] == len(held)


def test_damage_ends_the_intact_part(tmp_path):
    data = bytearray(write(tmp_path / 'a.log'))
    start, stop = scan(bytes(data))[0][b'name3']
    data[start + 4] ^= 1
    (tmp_path / 'a.log').write_bytes(data)
    assert lookup(bytes(data), b'name3') is None and lookup(bytes(data), b'name2') == b'record' * 2
    log = Log(tmp_path / 'a.log', SETTINGS)
    assert list(log.entries) == [b'name0', b'name1', b'name2']
    log.close()


def test_other_settings_and_other_files(tmp_path):
    write(tmp_path / 'a.log')
    with pytest.raises(ValueError, match='made with other settings'):
        Log(tmp_path / 'a.log', dict(provider=dict(type='GridBoxes', rows=3)))
    damaged = bytearray((tmp_path / 'a.log').read_bytes())
    damaged[24] ^= 1  # in the settings: no reason to throw everything away
    (tmp_path / 'd.log').write_bytes(damaged)
    with pytest.raises(ValueError, match='damaged at its start'):
        Log(tmp_path / 'd.log', SETTINGS)
    Log(tmp_path / 'c.log', SETTINGS).close()
    Log(tmp_path / 'c.log', dict(provider='another, for nothing is in it')).close()
    (tmp_path / 'b.log').write_bytes(b'something else entirely')
    with pytest.raises(ValueError, match='is not a log'):
        Log(tmp_path / 'b.log', SETTINGS)
    assert (tmp_path / 'b.log').read_bytes() == b'something else entirely'


def test_one_writer_at_a_time(tmp_path):
    fork = multiprocessing.get_context('fork')
    ready, go_on = fork.Event(), fork.Event()

    def hold():
        log = Log(tmp_path / 'a.log', SETTINGS)
        ready.set()
        go_on.wait(20)
        os.kill(os.getpid(), signal.SIGKILL)
        log.close()

    process = fork.Process(target=hold)
    process.start()
    assert ready.wait(20)
    with pytest.raises(BlockingIOError, match='another process is writing'):
        Log(tmp_path / 'a.log', SETTINGS)
    go_on.set()
    process.join()
    Log(tmp_path / 'a.log', SETTINGS).close()  # the lock goes with the process


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
    cached = Cached(Counted(tmp_path / 'calls'), tmp_path / 'cache', buckets=7)
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
    logs = list((tmp_path / 'cache').iterdir())
    entries = [name for log in logs for name in scan(log.read_bytes())[0] if name]
    assert len(logs) == 7 and sorted(entries) == sorted(name.encode() for name in names)


def test_cache_says_the_same_cold_and_warm(tmp_path):
    config = dict(type='RandomBoxes', count=3)
    cold = Cached(config, tmp_path)(IMAGE, 'a').boxes
    warm = Cached(config, tmp_path)(IMAGE, 'a').boxes
    assert (cold == warm).all() and (cold * 8 % 1 == 0).all()
    with pytest.raises(ValueError, match='other settings'):
        Cached(dict(config, count=4), tmp_path)(IMAGE, 'a')
