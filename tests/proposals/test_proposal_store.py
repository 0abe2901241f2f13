"""Files of a store: what goes in comes out, from any process, and damage is named."""

import json
import multiprocessing
import os
import pickle
import re

import numpy as np
import pytest

from densecl.proposals import DamagedStoreError, MissingProposalsError, ProposalStore, names, write_coco
from densecl.proposals.store_file import StoreFile
from densecl.registry import PROPOSALS
from densecl.structures import Proposals

SETTINGS = dict(provider=dict(type='RandomBoxes', count=3))


def proposals_of(number):
    rng = np.random.default_rng(number)
    corner = rng.integers(0, 50, (number % 5, 2))
    return Proposals(np.concatenate([corner, corner + 1 + number], 1), (400, 300 + number))


def image_name(number):
    return f'n{number % 3:02d}/image ü{number:03d}.jpg'


def write(path, numbers=range(40), settings=SETTINGS, **options):
    with ProposalStore.write(path, settings, **options) as writer:
        for number in numbers:
            writer[image_name(number)] = proposals_of(number)
    return path


def check(store, numbers=range(40)):
    for number in numbers:
        found = store[image_name(number)]
        np.testing.assert_array_equal(found.boxes, proposals_of(number).boxes)
        assert found.size == (400, 300 + number)


def test_round_trip_of_a_file_and_of_a_folder(tmp_path):
    write(tmp_path / '0.props', range(25))
    write(tmp_path / '1.props', range(25, 40))
    check(ProposalStore.open(tmp_path / '0.props'), range(25))
    store = PROPOSALS.build(dict(type='ProposalStore', path=str(tmp_path)))
    check(store)
    assert len(store) == 40 and set(store) == {image_name(i) for i in range(40)}
    assert store.settings == SETTINGS | {'precision': 0.125}
    assert image_name(30) in store and 'other' not in store
    np.testing.assert_array_equal(store(None, image_name(7)).boxes, proposals_of(7).boxes)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['0.props', '1.props']


def test_a_file_is_the_same_whatever_the_order(tmp_path):
    forth, back = write(tmp_path / 'a'), write(tmp_path / 'b', reversed(range(40)))
    write(tmp_path / 'c', range(10))
    write(tmp_path / 'c', range(39, 9, -1), append=True)
    assert forth.read_bytes() == back.read_bytes() == (tmp_path / 'c').read_bytes()


def test_names_that_are_not_utf8_and_an_empty_store(tmp_path):
    odd = os.fsdecode(b'\xe9t\xe9/\xff.jpg')
    with ProposalStore.write(tmp_path / 'a.props') as writer:
        writer[odd] = proposals_of(3)
    assert list(ProposalStore.open(tmp_path)) == [odd] and len(ProposalStore(tmp_path)[odd]) == 3
    write(tmp_path / 'empty', ())
    assert len(ProposalStore.open(tmp_path / 'empty')) == 0


def test_names_with_equal_hashes(tmp_path, monkeypatch):
    monkeypatch.setattr(names, 'name_hash', lambda name: len(name) % 2)
    check(ProposalStore.open(write(tmp_path / 'a.props')))
    assert 'n00/image ü00.jpg' not in ProposalStore.open(tmp_path)


@pytest.mark.parametrize('hashes', [None, 1, 3])
def test_an_image_of_several_files_is_one(tmp_path, monkeypatch, hashes):
    if hashes:  # so few of them that different names share one
        monkeypatch.setattr(names, 'name_hash', lambda name: len(name) % hashes)
    write(tmp_path / '0.props', range(25))
    with ProposalStore.write(tmp_path / '1.props', SETTINGS) as writer:
        for number in range(10, 40):
            writer[image_name(number)] = proposals_of(number if number >= 25 else 40)
    write(tmp_path / '2.props', range(5, 40))
    store = ProposalStore.open(tmp_path)
    assert len(store) == 40 and sorted(store) == sorted(map(image_name, range(40)))
    check(store)
    write_coco(store, tmp_path / 'all.json')
    assert len(json.loads((tmp_path / 'all.json').read_text())['images']) == 40


def test_counting_images_reads_no_names(tmp_path, monkeypatch):
    for number in range(3):
        write(tmp_path / f'{number}.props', range(10 * number, 10 * number + 10))
    monkeypatch.setattr(names.NameTable, '__getitem__', lambda *_: pytest.fail('a name was read'))
    assert len(ProposalStore.open(tmp_path)) == 30


def test_missing_images(tmp_path):
    store = ProposalStore.open(write(tmp_path / 'a.props'))
    with pytest.raises(MissingProposalsError, match=r"'no.jpg' is not in .*a\.props \(40 images.*Run tools"):
        store['no.jpg']
    with pytest.raises(KeyError):
        store(None, 'no.jpg')
    (tmp_path / '7.props.log').touch()
    with pytest.raises(MissingProposalsError, match=r'7\.props\.log in it is unfinished'):
        ProposalStore.open(tmp_path)['no.jpg']
    with pytest.raises(FileNotFoundError, match='make_proposals'):
        ProposalStore.open(tmp_path / 'nowhere')


def test_settings_must_agree(tmp_path):
    write(tmp_path / '0.props')
    other = dict(provider=dict(type='RandomBoxes', count=4))
    with pytest.raises(ValueError, match='made with other settings'):
        write(tmp_path / '0.props', settings=other, append=True)
    with pytest.raises(FileExistsError):
        write(tmp_path / '0.props')
    write(tmp_path / '1.props', [50], settings=other)
    with pytest.raises(ValueError, match='different settings.*different folders'):
        try:
            ProposalStore.open(tmp_path)
        except ValueError as error:
            raise ValueError(str(error).replace('\n', ' ')) from error


def test_nothing_is_left_where_nothing_was_written(tmp_path):
    for _ in range(2):
        with pytest.raises(RuntimeError), ProposalStore.write(tmp_path / 'a.props', SETTINGS):
            raise RuntimeError
    assert not list(tmp_path.iterdir())
    write(tmp_path / 'a.props')
    with pytest.raises(ValueError, match='other settings'):
        ProposalStore.write(tmp_path / 'a.props', dict(provider='x'), append=True)
    assert [p.name for p in tmp_path.iterdir()] == ['a.props']


def test_no_image_twice(tmp_path):
    with ProposalStore.write(tmp_path / 'a.props') as writer:
        writer['x'] = proposals_of(1)
        with pytest.raises(ValueError, match="proposals of 'x' already"):
            writer['x'] = proposals_of(2)
    with ProposalStore.write(tmp_path / 'a.props', append=True) as writer:
        assert 'x' in writer and len(writer) == 1
        with pytest.raises(ValueError, match='already'):
            writer['x'] = proposals_of(2)


def test_truncation_anywhere_is_refused_with_the_images_that_are_lost(tmp_path):
    data = write(tmp_path / 'a.props').read_bytes()
    whole = StoreFile(tmp_path / 'a.props')
    order, ends = list(whole.names), whole._ends.tolist()
    start = len(data) - ends[-1]
    cut = tmp_path / 'cut.props'
    cuts = [(start + end, i + 1) for i, end in enumerate(ends[:-1])]  # after each record
    cuts += [(start + end - 1, i) for i, end in enumerate(ends)]  # within each
    cuts += [(start, 0), (start - 1, 0), (start - 500, 0)]  # within the index
    for length, kept in cuts:
        cut.write_bytes(data[:length])
        message = f'lost are {40 - kept} of its 40 images, from {order[kept]!r} to {order[-1]!r}'
        with pytest.raises(DamagedStoreError, match=re.escape(message)) as caught:
            ProposalStore.open(cut)
        assert str(cut) in str(caught.value)
    for length in (0, 5, 40, 100):
        cut.write_bytes(data[:length])
        with pytest.raises(DamagedStoreError, match='all its images are lost'):
            ProposalStore.open(cut)
    cut.write_bytes(data + b'x')
    with pytest.raises(DamagedStoreError, match='instead of'):
        ProposalStore.open(cut)


def test_every_changed_byte_is_noticed(tmp_path):
    path = write(tmp_path / 'a.props', range(3))
    data, bad = path.read_bytes(), tmp_path / 'bad'
    unnoticed = []
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 0x10
        bad.write_bytes(changed)
        try:
            ProposalStore.open(bad).verify()
        except (DamagedStoreError, ValueError) as error:
            assert str(bad) in str(error)
            continue
        unnoticed.append(position)
    # nothing but the padding behind the json
    assert all(data[position] == 0 for position in unnoticed) and len(unnoticed) < 8


def test_a_damaged_record_costs_that_image_only(tmp_path):
    path = write(tmp_path / 'a.props')
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    store = ProposalStore.open(path)
    *good, last = list(store)
    assert [len(store[name]) for name in good]
    for read in (lambda: store[last], store.verify):
        with pytest.raises(DamagedStoreError, match=f'lost are 1 of its 40 images, from {last!r}'):
            read()


def read_in_turn(store, start, queue):
    order = [(start + 7 * i) % 40 for i in range(400)]
    queue.put(all((store[image_name(n)].boxes == proposals_of(n).boxes).all() for n in order))


@pytest.mark.parametrize('method', ['fork', 'spawn'])
def test_two_processes_read(tmp_path, method):
    if method == 'spawn':  # what spawning does to an argument, without its imports
        store = pickle.loads(pickle.dumps(ProposalStore.open(write(tmp_path / 'a.props'))))
    else:
        store = ProposalStore.open(write(tmp_path / 'a.props'))
    context = multiprocessing.get_context('fork')
    queue = context.Queue()
    workers = [context.Process(target=read_in_turn, args=(store, i, queue)) for i in (0, 20)]
    for worker in workers:
        worker.start()
    assert [queue.get(timeout=30) for _ in workers] == [True, True]
    for worker in workers:
        worker.join()
    assert len(pickle.dumps(store)) < 1000  # the file's name, not its contents


def test_an_exception_keeps_what_was_written(tmp_path):
    path = tmp_path / 'a.props'
    with pytest.raises(RuntimeError), ProposalStore.write(path, SETTINGS) as writer:
        for number in range(10):
            writer[image_name(number)] = proposals_of(number)
        raise RuntimeError
    assert not path.exists()
    with ProposalStore.write(path, SETTINGS) as writer:
        assert len(writer) == 10 and image_name(9) in writer
        for number in range(10, 40):
            writer[image_name(number)] = proposals_of(number)
    assert path.read_bytes() == write(tmp_path / 'b.props').read_bytes()
