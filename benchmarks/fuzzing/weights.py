"""Weights: checkpoints, pickles, TorchScript, safetensors."""

import io
import pickle
import struct
from pathlib import Path

import numpy as np
import torch

from densecl.compat import load_checkpoint
from densecl.transfer.read import read_weights

from .changes import CHANGES, JSON_CHANGES
from .trial import require


def tensors() -> dict[str, torch.Tensor]:
    """A small state dict."""
    generator = torch.Generator().manual_seed(0)
    return {f'layer{i}.weight': torch.randn(4, 3, generator=generator) for i in range(4)} | {
        'n': torch.ones(2).long()
    }


def checkpoint_seeds() -> dict[str, bytes]:
    """What torch.save writes, in both forms, with and without what mmengine adds."""
    from argparse import Namespace

    from mmengine.logging import HistoryBuffer

    history = HistoryBuffer([1.0, 2.0], [1, 1])
    rich = dict(
        state_dict=tensors(), meta=dict(epoch=3, name='x'), args=Namespace(lr=0.1), array=np.arange(5.0),
        message_hub=dict(log_scalars=dict(loss=history)), scalar=np.float64(0.5),
    )  # fmt: skip
    seeds = {}
    for name, content in (('plain', tensors()), ('rich', rich), ('branches', dict(student=tensors()))):
        for form in (True, False):
            file = io.BytesIO()
            torch.save(content, file, _use_new_zipfile_serialization=form)
            seeds[f'{name} {"zip" if form else "legacy"}'] = file.getvalue()
    return seeds


def torchscript_seed() -> bytes:
    """What torch.jit.save writes."""
    file = io.BytesIO()
    torch.jit.save(
        torch.jit.script(torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))), file
    )
    return file.getvalue()


def rezipped(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """The parts of a zip, one of them changed, with checksums that fit; compressed half of the time."""
    import zipfile

    try:
        source = zipfile.ZipFile(io.BytesIO(data))
    except zipfile.BadZipFile:
        return CHANGES['random_block'](data, rng, other)
    names, file = source.namelist(), io.BytesIO()
    chosen = (
        names[int(rng.integers(len(names)))] if rng.random() < 0.5 else next(n for n in names if 'pkl' in n)
    )
    how = list(CHANGES)[int(rng.integers(len(CHANGES)))]
    with zipfile.ZipFile(
        file, 'w', zipfile.ZIP_DEFLATED if rng.random() < 0.5 else zipfile.ZIP_STORED
    ) as target:
        for name in names:
            part = source.read(name)
            target.writestr(name, CHANGES[how](part, rng, other) if name == chosen and part else part)
    return file.getvalue()


def pickle_seeds() -> dict[str, bytes]:
    """Detectron2's form, in every protocol."""
    model = {name: tensor.numpy() for name, tensor in tensors().items()}
    return {f'protocol {p}': pickle.dumps(dict(model=model, __author__='x'), protocol=p) for p in range(1, 6)}


def pickle_memo(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """Operations that ask for memory before the frame ends: a memo of 2^32 entries, bytes of 10^12."""
    huge = (b'r\xff\xff\xff\x7f', b'\x8e' + struct.pack('<Q', 10**12), b'\x8d' + struct.pack('<Q', 2**40))
    return b'\x80\x04N' + huge[int(rng.integers(3))] + data[2:]


def safetensors_seeds() -> dict[str, bytes]:
    """With metadata as exports write it."""
    from safetensors.torch import save

    return {'plain': save(tensors()), 'metadata': save(tensors(), dict(config='{"a": 1}', note='text'))}


def safetensors_header(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """The json header changed, with the length that fits."""
    length = int.from_bytes(data[:8], 'little')
    how = list(JSON_CHANGES)[int(rng.integers(len(JSON_CHANGES)))]
    head = JSON_CHANGES[how](data[8 : 8 + length].rstrip(), rng, other)
    return len(head).to_bytes(8, 'little') + head + data[8 + length :]


def _check_tensors(found: dict, path: Path) -> dict[str, tuple]:
    size = sum(t.untyped_storage().nbytes() for t in found.values())
    require(size <= 64 * 2**20 + 8 * path.stat().st_size, f'{size} bytes of tensors')
    require(all(isinstance(n, str) and isinstance(t, torch.Tensor) for n, t in found.items()), 'no tensors')
    return {
        n: (t.dtype, tuple(t.shape), t.numpy().tobytes() if t.numel() < 1000 else None)
        for n, t in found.items()
    }


def read_tensors(path: Path) -> dict[str, tuple]:
    """The state dict of a file of weights."""
    return _check_tensors(read_weights(path).tensors, path)


def read_checkpoint(path: Path) -> object:
    """What a run resumes from."""
    found = load_checkpoint(path)
    return sorted(map(str, found)) if isinstance(found, dict) else type(found).__name__
