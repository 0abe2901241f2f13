"""Files of a store: what goes in comes out, from any process, and damage is named."""

import json
import multiprocessing
import os
import pickle
import re

import numpy as np
import pyarrow
import pytest

from densecl.proposals import (
    DamagedStoreError,
    MissingProposalsError,
    ProposalStore,
    shard,
    table,
    write_coco,
)
from densecl.proposals.table import Batch
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
    write(tmp_path / '0.arrow', range(25))
    write(tmp_path / '1.arrow', range(25, 40))
    check(ProposalStore.open(tmp_path / '0.arrow'), range(25))
    store = PROPOSALS.build(dict(type='ProposalStore', path=str(tmp_path)))
    check(store)
    assert len(store) == 40 and set(store) == {image_name(i) for i in range(40)}
    assert store.settings == SETTINGS | {'precision': 0.125}
    assert image_name(30) in store and 'other' not in store
    np.testing.assert_array_equal(store(None, image_name(7)).boxes, proposals_of(7).boxes)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['0.arrow', '1.arrow']


def test_a_file_is_the_same_whatever_the_order(tmp_path):
    forth, back = write(tmp_path / 'a'), write(tmp_path / 'b', reversed(range(40)))
    write(tmp_path / 'c', range(10))
    write(tmp_path / 'c', range(39, 9, -1), append=True)
    assert forth.read_bytes() == back.read_bytes() == (tmp_path / 'c').read_bytes()


def test_names_that_are_not_utf8_and_an_empty_store(tmp_path):
    odd = os.fsdecode(b'\xe9t\xe9/\xff.jpg')
    with ProposalStore.write(tmp_path / 'a.arrow') as writer:
        writer[odd] = proposals_of(3)
    assert list(ProposalStore.open(tmp_path)) == [odd] and len(ProposalStore(tmp_path)[odd]) == 3
    write(tmp_path / 'empty', ())
    assert len(ProposalStore.open(tmp_path / 'empty')) == 0


def test_an_image_of_several_files_is_one(tmp_path):
    write(tmp_path / '0.arrow', range(25))
    with ProposalStore.write(tmp_path / '1.arrow', SETTINGS) as writer:
        for number in range(10, 40):
            writer[image_name(number)] = proposals_of(number if number >= 25 else 40)
        writer[os.fsdecode(b'\xe9')] = proposals_of(1)  # so that this file's ids are no text
    write(tmp_path / '2.arrow', range(5, 40))
    store = ProposalStore.open(tmp_path)
    names = [*map(image_name, range(40)), os.fsdecode(b'\xe9')]
    assert len(store) == 41 and sorted(store) == sorted(names)
    check(store)
    write_coco(store, tmp_path / 'all.json')
    assert len(json.loads((tmp_path / 'all.json').read_text())['images']) == 41


def test_counting_images_reads_no_names(tmp_path, monkeypatch):
    for number in range(3):
        write(tmp_path / f'{number}.arrow', range(10 * number, 10 * number + 10))
    store = ProposalStore.open(tmp_path)
    monkeypatch.setattr(Batch, 'name', lambda *_: pytest.fail('a name was read'))
    assert len(store) == 30


def test_arrow_reads_it_without_densecl(tmp_path):
    proposals = Proposals(
        [[1, 2, 3, 4.5], [0, 0, 8, 9]], (9, 8), ids=[7, 7], scores=[0.5, 0.25],
        masks=[dict(size=[9, 8], counts=b'abc'), dict(size=[9, 8], counts=b'')],
    )  # fmt: skip
    with ProposalStore.write(tmp_path / 'a.arrow', SETTINGS) as writer:
        writer['ü/1.jpg'], writer['ü/0.jpg'] = proposals, Proposals([[1, 1, 2, 2]], (5, 6))
    rows = pyarrow.ipc.open_file(tmp_path / 'a.arrow').read_all().drop(['crc32']).to_pylist()
    assert rows == [
        dict(image_id='ü/0.jpg', width=6, height=5, boxes=[[1, 1, 2, 2]], ids=None, scores=None, masks=None),
        dict(image_id='ü/1.jpg', width=8, height=9, boxes=[[1, 2, 3, 4.5], [0, 0, 8, 9]],
             ids=[7, 7], scores=[0.5, 0.25], masks=[b'abc', b'']),
    ]  # fmt: skip


def test_pandas_reads_it(tmp_path):
    pandas = pytest.importorskip('pandas')
    frame = pandas.read_feather(write(tmp_path / 'a.arrow')).set_index('image_id')
    assert len(frame) == 40 and frame.width[image_name(7)] == 307
    np.testing.assert_array_equal(np.stack(frame.boxes[image_name(7)]), proposals_of(7).boxes)


def test_polars_reads_it(tmp_path):
    polars = pytest.importorskip('polars')
    frame = polars.read_ipc(write(tmp_path / 'a.arrow'))
    row = frame.row(by_predicate=polars.col('image_id') == image_name(7), named=True)
    assert len(frame) == 40 and row['width'] == 307
    np.testing.assert_array_equal(np.stack(row['boxes']), proposals_of(7).boxes)


def test_a_store_of_an_older_densecl_says_what_to_do(tmp_path):
    (tmp_path / '00000-of-00001.props').write_bytes(b'DCLPROPS' + bytes(100))
    for path in (tmp_path, tmp_path / '00000-of-00001.props'):
        with pytest.raises(ValueError, match=r'00001\.props was written by an older densecl; make it anew'):
            ProposalStore.open(path)


def test_missing_images(tmp_path):
    store = ProposalStore.open(write(tmp_path / 'a.arrow'))
    with pytest.raises(MissingProposalsError, match=r"'no.jpg' is not in .*a\.arrow \(40 images.*Run tools"):
        store['no.jpg']
    with pytest.raises(KeyError):
        store(None, 'no.jpg')
    (tmp_path / '7.arrow.part').touch()
    with pytest.raises(MissingProposalsError, match=r'7\.arrow\.part in it is unfinished'):
        ProposalStore.open(tmp_path)['no.jpg']
    with pytest.raises(FileNotFoundError, match='make_proposals'):
        ProposalStore.open(tmp_path / 'nowhere')


def test_settings_must_agree(tmp_path):
    write(tmp_path / '0.arrow')
    other = dict(provider=dict(type='RandomBoxes', count=4))
    with pytest.raises(ValueError, match='made with other settings'):
        write(tmp_path / '0.arrow', settings=other, append=True)
    with pytest.raises(FileExistsError):
        write(tmp_path / '0.arrow')
    write(tmp_path / '1.arrow', [50], settings=other)
    with pytest.raises(ValueError, match=r'1\.arrow holds proposals made with other settings.*in different'):
        ProposalStore.open(tmp_path)


def test_nothing_is_left_where_nothing_was_written(tmp_path):
    for _ in range(2):
        with pytest.raises(RuntimeError), ProposalStore.write(tmp_path / 'a.arrow', SETTINGS):
            raise RuntimeError
    assert not list(tmp_path.iterdir())
    write(tmp_path / 'a.arrow')
    with pytest.raises(ValueError, match='other settings'):
        ProposalStore.write(tmp_path / 'a.arrow', dict(provider='x'), append=True)
    assert [p.name for p in tmp_path.iterdir()] == ['a.arrow']


def test_no_image_twice(tmp_path):
    with ProposalStore.write(tmp_path / 'a.arrow') as writer:
        writer['x'] = proposals_of(1)
        with pytest.raises(ValueError, match="proposals of 'x' already"):
            writer['x'] = proposals_of(2)
    with ProposalStore.write(tmp_path / 'a.arrow', append=True) as writer:
        assert 'x' in writer and len(writer) == 1
        with pytest.raises(ValueError, match='already'):
            writer['x'] = proposals_of(2)


def test_truncation_anywhere_is_refused_with_the_images_that_are_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(table, 'ROWS', 7)
    monkeypatch.setattr(shard, 'ROWS', 7)
    data = write(tmp_path / 'a.arrow').read_bytes()
    order = sorted((image_name(i) for i in range(40)), key=str.encode)
    source = pyarrow.BufferReader(data[8:])
    stream, ends = pyarrow.ipc.open_stream(source), []
    begin = source.tell() + 8
    for batch in stream:
        assert batch['image_id'].to_pylist() == order[7 * len(ends) : 7 * len(ends) + 7]
        ends.append(source.tell() + 8)
    assert len(ends) == 6
    cut = tmp_path / 'cut.arrow'
    for length in {*range(begin, len(data), 13), *ends, *(end - 1 for end in ends), len(data) - 1}:
        cut.write_bytes(data[:length])
        kept = min(7 * sum(length >= end for end in ends), 40)
        message = f'cut.arrow is cut short or changed; lost are {40 - kept} of its 40 images'
        if kept < 40:
            message += f', from {order[kept]!r} to {order[-1]!r}. Copy the file again'
        with pytest.raises(DamagedStoreError, match=re.escape(message)):
            ProposalStore.open(cut)
    for length in (0, 5, 40, 100, begin - 1):
        cut.write_bytes(data[:length])
        with pytest.raises(DamagedStoreError, match='cut.arrow is not .*all its images are lost'):
            ProposalStore.open(cut)
    cut.write_bytes(data + b'x')
    with pytest.raises(DamagedStoreError, match='changed; lost are 0 of its 40 images'):
        ProposalStore.open(cut)


def test_every_changed_byte_is_noticed_or_changes_nothing(tmp_path):
    path, bad = write(tmp_path / 'a.arrow', range(3)), tmp_path / 'bad'
    data, noticed = path.read_bytes(), []
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 0x10
        bad.write_bytes(changed)
        try:
            store = ProposalStore.open(bad)
            store.verify()
        except DamagedStoreError as error:
            assert str(bad) in str(error)
            noticed.append(position)
            continue
        assert list(store) == [image_name(i) for i in range(3)] and store.settings['precision'] == 0.125
        check(store, range(3))
    assert set(noticed) >= {data.index(b'image \xc3\xbc001') + i for i in range(11)}
    assert set(noticed) >= {data.index(proposals_of(2).boxes.tobytes()) + i for i in range(32)}
    assert set(noticed) >= {data.index(b'RandomBoxes') + i for i in range(11)}


def test_a_damaged_row_costs_that_image_only(tmp_path):
    path = write(tmp_path / 'a.arrow')
    data = bytearray(path.read_bytes())
    data[data.index(proposals_of(39).boxes.tobytes()) + 3] ^= 1
    path.write_bytes(data)
    store = ProposalStore.open(path)
    check(store, range(39))
    for read in (lambda: store[image_name(39)], store.verify):
        with pytest.raises(DamagedStoreError, match=f'lost are 1 of its 40 images, from {image_name(39)!r}'):
            read()


def test_a_damaged_name_is_not_taken_for_a_missing_image(tmp_path):
    path = write(tmp_path / 'a.arrow')
    name = image_name(20).encode()
    path.write_bytes(path.read_bytes().replace(name, b'n02/immge' + name[9:]))
    with pytest.raises(DamagedStoreError, match='is damaged; lost are 1 of its 40 images, from .*immge'):
        ProposalStore.open(path)[image_name(20)]


def read_in_turn(store, start, queue):
    order = [(start + 7 * i) % 40 for i in range(400)]
    queue.put(all((store[image_name(n)].boxes == proposals_of(n).boxes).all() for n in order))


@pytest.mark.parametrize('method', ['fork', 'spawn'])
def test_two_processes_read(tmp_path, method):
    if method == 'spawn':  # what spawning does to an argument, without its imports
        store = pickle.loads(pickle.dumps(ProposalStore.open(write(tmp_path / 'a.arrow'))))
    else:
        store = ProposalStore.open(write(tmp_path / 'a.arrow'))
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
    path = tmp_path / 'a.arrow'
    with pytest.raises(RuntimeError), ProposalStore.write(path, SETTINGS) as writer:
        for number in range(10):
            writer[image_name(number)] = proposals_of(number)
        raise RuntimeError
    assert not path.exists()
    with ProposalStore.write(path, SETTINGS) as writer:
        assert len(writer) == 10 and image_name(9) in writer
        for number in range(10, 40):
            writer[image_name(number)] = proposals_of(number)
    assert path.read_bytes() == write(tmp_path / 'b.arrow').read_bytes()
