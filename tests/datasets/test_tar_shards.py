"""Tar shards, written by tarfile, against the files that went in."""

import io
import os
import pickle
import tarfile

import numpy as np
import pytest
from PIL import Image

from densecl.datasets import UnreadableImageError
from densecl.datasets.decode import decode_image
from densecl.datasets.sources import TarShards
from densecl.datasets.sources.tar import OPEN_FILES, expand_braces
from densecl.datasets.sources.tar_index import read_index


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp('cache')
    monkeypatch.setenv('DENSECL_CACHE', str(folder))
    return folder


def picture(value):
    buffer = io.BytesIO()
    Image.new('RGB', (8, 6), (value % 256, 7, 9)).save(buffer, 'PNG')
    return buffer.getvalue()


def write_tar(path, members, **options):
    with tarfile.open(path, 'w', **options) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def shard(folder, number, count=5):
    members = {f'{number:03d}{i:03d}.png': picture(number * 10 + i) for i in range(count)}
    return write_tar(folder / f'shard-{number:04d}.tar', members)


def member_names(source):
    return [source.load(i)[1].split('.tar/')[1] for i in range(len(source))]


@pytest.mark.parametrize('layout', [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_bytes_names_and_labels(tmp_path, layout):
    long = 'deep/' * 18 + 'x' * (90 if layout == tarfile.USTAR_FORMAT else 150)
    members = {
        '__key__': b'',
        'a/0001.cls': b'17',
        'a/0001.jpg': picture(1),
        'a/0001.json': b'{}',
        'b/0001.PNG': picture(2),
        'b/0001.cls': b' 3\n',
        'b/._0001.jpg': b'resource fork',
        f'{long}.png': picture(3),
        'c/0002.txt': b'no image',
    }
    path = write_tar(tmp_path / 'x.tar', members, format=layout)
    source = TarShards(path)
    assert member_names(source) == ['a/0001.jpg', 'b/0001.PNG', f'{long}.png']
    for i, name in enumerate(['a/0001.jpg', 'b/0001.PNG', f'{long}.png']):
        assert source.load(i) == (members[name], f'{path}/{name}')
    assert [source.label(i) for i in range(3)] == [17, 3, -1]  # partly labelled: -1 is not
    assert decode_image(*source.load(1))[0, 0].tolist() == [2, 7, 9]


def test_one_image_a_key(tmp_path):
    members = {f'{k}.{e}': picture(i) for k in 'ab' for i, e in enumerate(['rgb.png', 'seg.png'])}
    path = write_tar(tmp_path / 'x.tar', members)
    assert member_names(TarShards(path)) == ['a.rgb.png', 'b.rgb.png']
    assert read_index(str(path)).left_out == 2
    # the index on disk is of the other choice
    assert member_names(TarShards(path, extension='seg.png')) == ['a.seg.png', 'b.seg.png']
    assert member_names(TarShards(path)) == ['a.rgb.png', 'b.rgb.png']
    with pytest.raises(ValueError, match=r'no member ending in \.depth\.png'):
        TarShards(path, extension='depth.png')


def test_links_and_folders_are_no_images(tmp_path):
    path = shard(tmp_path, 0, count=1)
    with tarfile.open(path, 'a') as tar:
        for kind, name in [(tarfile.SYMTYPE, 'l.png'), (tarfile.DIRTYPE, 'd.png')]:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, '000000.png'
            tar.addfile(info)
    assert member_names(TarShards(path)) == ['000000.png']


def test_ways_to_name_shards(tmp_path):
    paths = [str(shard(tmp_path, i, count=1)) for i in range(12)]
    write_tar(tmp_path / 'other.tar', {'a.png': picture(0)})
    assert TarShards(tmp_path).shards == [str(tmp_path / 'other.tar'), *paths]
    assert TarShards(tmp_path, shards='shard-*.tar').shards == paths
    assert TarShards(tmp_path, shards=['shard-{0002..0003}.tar']).shards == paths[2:4]
    assert TarShards(str(tmp_path / 'shard-{0008..0011}.tar')).shards == paths[8:]
    assert TarShards([paths[3], str(tmp_path / 'shard-000?.tar')]).shards == [
        paths[3], *paths[:3], *paths[4:10]
    ]  # fmt: skip


def test_braces():
    assert expand_braces('{8..10}') == ['8', '9', '10']
    assert expand_braces('a{08..10}b') == ['a08b', 'a09b', 'a10b']
    assert expand_braces('{x,yz}-{0..1}') == ['x-0', 'x-1', 'yz-0', 'yz-1']
    assert expand_braces('plain') == ['plain']
    with pytest.raises(ValueError, match='counts down'):
        expand_braces('{3..1}')


def test_shard_starts_and_window(tmp_path):
    for i, count in enumerate([3, 5, 2]):
        shard(tmp_path, i, count)
    source = TarShards(tmp_path, shuffle_window=4)
    assert source.shard_starts.tolist() == [0, 3, 8, 10] and source.shuffle_window == 4
    assert TarShards(tmp_path, shuffle_window=None).shard_starts is None
    with pytest.raises(ValueError, match='shuffle_window must be positive'):
        TarShards(tmp_path, shuffle_window=0)


def test_index_is_kept_beside_the_tar_and_follows_it(tmp_path, monkeypatch):
    path = shard(tmp_path, 0, count=3)
    TarShards(path)
    index = tmp_path / 'shard-0000.tar.index.npz'
    assert index.exists() and not list(tmp_path.glob('*.tmp'))
    assert TarShards(tmp_path).shards == [str(path)]  # the index itself is no shard

    with monkeypatch.context() as patch:  # now it is read, not the tar
        patch.setattr('densecl.datasets.sources.tar_index.read_index', None)
        assert member_names(TarShards(path)) == ['000000.png', '000001.png', '000002.png']

    shard(tmp_path, 0, count=4)
    assert len(TarShards(path)) == 4
    index.write_bytes(b'PK\x03\x04 half an index')
    assert len(TarShards(path)) == 4
    assert read_index(str(path)).offsets.tolist() == np.load(index)['offsets'].tolist()


def test_index_goes_to_the_cache_where_the_folder_is_read_only(tmp_path, cache, monkeypatch):
    path = shard(tmp_path, 0)
    real = os.replace

    def replace(source, target):
        if str(target).startswith(str(tmp_path)):
            raise PermissionError(13, 'read-only')
        real(source, target)

    monkeypatch.setattr(os, 'replace', replace)
    TarShards(path)
    assert os.listdir(tmp_path) == ['shard-0000.tar']
    assert len(list(cache.iterdir())) == 1
    monkeypatch.setattr('densecl.datasets.sources.tar_index.read_index', None)
    assert len(TarShards(path)) == 5


def test_index_that_can_be_kept_nowhere(tmp_path, monkeypatch):
    path = shard(tmp_path, 0)

    def refuse(*_):
        raise OSError(28, 'no space')

    monkeypatch.setattr(os, 'replace', refuse)
    assert len(TarShards(path)) == 5
    assert os.listdir(tmp_path) == ['shard-0000.tar']


@pytest.mark.parametrize('mode', ['gz', 'bz2', 'xz'])
def test_compressed_tar(tmp_path, mode):
    with tarfile.open(tmp_path / 'x.tar', f'w:{mode}') as tar:
        tar.add(shard(tmp_path, 0), 'a.png')
    with pytest.raises(ValueError, match=r'x\.tar is compressed .*unpack it'):
        TarShards(tmp_path / 'x.tar')


@pytest.mark.parametrize('cut', [700, 1030, 512 * 3])
def test_truncated_tar(tmp_path, cut):
    path = write_tar(tmp_path / 'x.tar', {f'{i}.jpg': bytes(600) for i in range(3)})
    path.write_bytes(path.read_bytes()[:cut] if cut != 1536 else path.read_bytes()[: 1536 + 100])
    with pytest.raises(ValueError, match=r'x\.tar is truncated, damaged or no tar'):
        TarShards(path)


def test_damaged_tar(tmp_path):
    path = write_tar(tmp_path / 'x.tar', {f'{i}.jpg': bytes(500) for i in range(3)})
    data = bytearray(path.read_bytes())
    data[1024:1034] = b'##########'
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r'x\.tar .*damaged header at byte 1024'):
        TarShards(path)
    path.write_bytes(b'text' * 1000)
    with pytest.raises(ValueError, match=r'x\.tar is truncated, damaged or no tar'):
        TarShards(path)


def test_other_bad_input(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'there is no .*\*\.tar'):
        TarShards(tmp_path)
    with pytest.raises(FileNotFoundError, match=r'no .*s-1\.tar .*part of .*s-\{0\.\.2\}'):
        write_tar(tmp_path / 's-0.tar', {})
        TarShards(str(tmp_path / 's-{0..2}.tar'))
    with pytest.raises(ValueError, match='no image in any of'):
        TarShards(tmp_path / 's-0.tar')
    for url in ['https://x.org/a.tar', 's3://b/a.tar', 'pipe:cat a.tar']:
        with pytest.raises(ValueError, match='is not a local file'):
            TarShards(url)
    os.mkfifo(tmp_path / 'fifo.tar')
    with pytest.raises(ValueError, match=r'fifo\.tar is not a regular file'):
        TarShards(tmp_path / 'fifo.tar')
    write_tar(tmp_path / 'x.tar', {'a.cls': b'cat', 'a.png': picture(0)})
    with pytest.raises(ValueError, match=r"a\.cls in .*x\.tar must hold a whole number, got b'cat'"):
        TarShards(tmp_path / 'x.tar')


def test_tar_that_changes_while_it_is_used(tmp_path):
    path = shard(tmp_path, 0)
    source = TarShards(path)
    os.truncate(path, 100)
    with pytest.raises(UnreadableImageError, match=r'shard-0000\.tar/000003\.png.*became shorter'):
        source.load(3)
    path.unlink()
    source = pickle.loads(pickle.dumps(source))
    with pytest.raises(UnreadableImageError, match=r'000003\.png.*No such file'):
        source.load(3)


def test_few_files_stay_open_and_none_travel(tmp_path):
    for i in range(OPEN_FILES + 5):
        shard(tmp_path, i, count=1)
    source = TarShards(tmp_path)
    before = len(os.listdir('/proc/self/fd'))
    data = [source.load(i) for i in range(len(source))]
    assert len(os.listdir('/proc/self/fd')) - before <= OPEN_FILES
    copied = pickle.loads(pickle.dumps(source))
    assert not copied._files and [copied.load(i) for i in range(len(source))] == data
