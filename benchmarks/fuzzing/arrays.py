"""Stores of proposals, feature maps, permutations."""

import io
import json
from pathlib import Path

import numpy as np
import torch

from densecl.datasets.feature_maps import FeatureMaps, write_maps
from densecl.datasets.transforms.permutations import read_permutations
from densecl.proposals import ProposalStore
from densecl.structures import Proposals

from .annotations import square
from .images import NAMES, SIZE
from .trial import require


def store_seed(folder: Path) -> bytes:
    """Boxes, scores, ids and masks of some images."""
    rng = np.random.default_rng(0)
    path = folder / 'made.arrow'
    with ProposalStore.write(path, dict(provider=dict(type='X'))) as writer:
        for name in (*NAMES, 'ü.png'):
            corner = rng.uniform(0, 15, (4, 2))
            boxes = np.concatenate([corner, corner + rng.uniform(1, 15, corner.shape)], 1)
            masks = [dict(size=list(SIZE), counts=square())] * 4
            writer[name] = Proposals(
                boxes, SIZE, ids=rng.integers(0, 9, 4), scores=rng.uniform(size=4), masks=masks
            )
    return path.read_bytes()


def rewritten_store(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """A store of strange values whose framing is right; compressed half of the time."""
    import pyarrow as pa

    stream = pa.ipc.open_file(pa.py_buffer(data))
    table = stream.read_all().to_pydict()
    column = list(table)[int(rng.integers(len(table)))]
    row = int(rng.integers(len(table[column])))
    strange = {
        'boxes': [[float('nan')] * 4] * 4, 'ids': [-1], 'scores': [float('nan')] * 4, 'masks': [b'oooo'] * 4,
        'width': -5, 'height': 2**31 - 1, 'image_id': '', 'crc32': 0,
    }  # fmt: skip
    table[column][row] = strange[column]
    meta = dict(stream.schema.metadata)
    if rng.random() < 0.3:
        header = json.loads(meta[b'densecl'])
        header[list(header)[int(rng.integers(len(header)))]] = [None, -1, 'x', [], {}][int(rng.integers(5))]
        meta[b'densecl'] = json.dumps(header)
    schema = stream.schema.with_metadata(meta)
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression='zstd' if rng.random() < 0.5 else None)
    with pa.ipc.new_file(sink, schema, options=options) as writer:
        writer.write_table(pa.Table.from_pydict(table, schema))
    return sink.getvalue().to_pybytes()


def read_store(path: Path) -> dict[str, tuple]:
    """All proposals."""
    store = ProposalStore.open(path)
    store.verify()
    found = {}
    for name in store:
        p = store[name]
        require(
            bool(np.isfinite(p.boxes).all()) and bool((p.boxes[:, 2:] >= p.boxes[:, :2]).all()), 'no boxes'
        )
        scores = None if p.scores is None else p.scores.tobytes()
        found[name] = p.boxes.tobytes(), p.size, p.ids.tobytes(), scores, str(p.masks)
    return found


def maps_folder(folder: Path) -> None:
    """Feature maps of three images."""
    write_maps(folder, list(NAMES), [torch.randn(3, 2, 4, 5)], (2, 4, 5), dict(name='x'))


def read_maps(path: Path) -> object:
    """All maps."""
    maps = FeatureMaps(path.parent)
    for name in maps._rows:
        require(maps[name].dtype == torch.float16 and maps[name].ndim == 3, 'a map of another kind')
    return maps.shape


def permutation_seeds() -> dict[str, bytes]:
    """Permutations of nine cells."""
    rows = np.stack([np.random.default_rng(i).permutation(9) for i in range(6)])
    file = io.BytesIO()
    np.save(file, rows)
    return {'npy': file.getvalue(), 'text': '\n'.join(' '.join(map(str, r)) for r in rows).encode()}


def read_orders(path: Path) -> object:
    """All permutations."""
    rows = read_permutations(path, 9)
    require(rows.dtype == np.uint8 and bool((np.sort(rows, 1) == np.arange(9)).all()), 'no permutations')
    return rows.shape
