"""Tars of images, and the index beside a tar."""

import io
import tarfile
from pathlib import Path

import numpy as np

from densecl.datasets import TarShards
from densecl.datasets.sources.tar_index import tar_index

from .changes import Change
from .images import NAMES, encoded
from .trial import require


def tar_seed(kind: int) -> bytes:
    """Three photos with labels and captions."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode='w', format=kind) as tar:
        for name in NAMES:
            stem = name.partition('.')[0]
            for member, data in ((name, encoded('JPEG')), (f'{stem}.cls', b'3'), (f'{stem}.txt', b'a dog\n')):
                info = tarfile.TarInfo(member)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


def tar_header(how: str) -> Change:
    """A header field of another value, with the checksum that fits."""

    def change(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
        headers = [i for i in range(0, len(data) - 511, 512) if data[i + 257 : i + 262] == b'ustar']
        start = headers[int(rng.integers(len(headers)))]
        head = bytearray(data[start : start + 512])
        if how == 'size':
            sizes = (b'00000000000\0', b'77777777777\0', b'\x80' + (10**12).to_bytes(11, 'big'), b'\xff' * 12)
            head[124:136] = sizes[int(rng.integers(4))]
        elif how == 'type':
            head[156] = int(rng.choice(list(b'0123456LKxgSV7')))
            head[157:257] = b'/etc/passwd'.ljust(100, b'\0')
        else:
            names = (
                b'../../etc/passwd.jpg',
                b'/etc/x.jpg',
                b'',
                b'a\xff\xfe.jpg',
                b'a/../b.jpg',
                NAMES[0].encode(),
            )
            head[:100] = names[int(rng.integers(len(names)))].ljust(100, b'\0')
        head[148:156] = b' ' * 8
        head[148:156] = f'{sum(head):06o}\0 '.encode()
        return data[:start] + bytes(head) + data[start + 512 :]

    return change


def read_tar(path: Path) -> dict[str, tuple]:
    """All images, labels and captions by name. The index is made anew: the file beside is not used."""
    for kept in path.parent.glob('*.index.npz'):
        kept.unlink()
    source = TarShards(str(path))
    found = {}
    for i in range(len(source)):
        data, _ = source.load(i)
        require(len(data) <= path.stat().st_size, 'a member larger than the tar')
        found[source.image_id(i)] = data, source.label(i)
    require(len(found) == len(source), 'two images of one id')
    return {name: label for name, (_, label) in found.items()}


def tar_index_seed(folder: Path) -> bytes:
    """The index of a tar that stands beside it."""
    (folder / 'x.tar').write_bytes(tar_seed(tarfile.PAX_FORMAT))
    tar_index(str(folder / 'x.tar'))
    return (folder / 'x.tar.index.npz').read_bytes()


def read_tar_index(path: Path) -> dict[str, bytes]:
    """The images of a tar by an index that may be anyone's."""
    source = TarShards(str(path).removesuffix('.index.npz'))
    return {source.image_id(i): source.load(i)[0] for i in range(len(source))}
