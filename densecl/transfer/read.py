"""Reads the tensors of any checkpoint file that may have a backbone."""

import collections
import io
import json
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from densecl.compat import load_checkpoint
from densecl.compat.plain_arrays import NUMPY
from densecl.compat.torchscript import is_torchscript, read_torchscript
from densecl.models.backbones.low_rank import fold_low_rank

from .dialects import from_detectron2

# Keys of the state dict in the checkpoints of projects, in the order in which they are tried.
_CONTAINERS = ('state_dict', 'model', 'model_state_dict', 'network', 'module')
# Keys of checkpoints with one state dict per branch at the top level (DINO and similar methods).
_BRANCHES = ('student', 'teacher', 'online', 'target')


@dataclass
class Weights:
    """The tensors of one file, by the names the file gives them.

    Attributes:
        tensors: name -> tensor, on the CPU.
        meta: the file's record of its training; {} if it has none.
        source: the file, for messages.
        names: ``'detectron2'`` if its names were replaced by mmdet's, else None.
    """

    tensors: dict[str, Tensor]
    meta: dict[str, Any] = field(default_factory=dict)
    source: str = 'checkpoint'
    names: str | None = None


def read_weights(checkpoint: str | Path | dict | Weights) -> Weights:
    """Read a checkpoint of any kind without running code from it.

    Args:
        checkpoint: a ``.pth``/``.pt`` file (densecl, mmengine, MoCo, torchvision, timm, DINO ...),
            a TorchScript archive (OpenAI's CLIP), a ``.safetensors`` file, a detectron2 ``.pkl``, or the
            result of :func:`torch.load`.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is empty, cut off, a web page, or has no tensors.
        pickle.UnpicklingError: the file needs classes that could run code.
    """
    if isinstance(checkpoint, Weights):
        return checkpoint
    if isinstance(checkpoint, dict):
        return _unpack(checkpoint, 'the given dict')
    path = Path(checkpoint)
    if not path.is_file():
        what = 'is a folder' if path.is_dir() else 'does not exist'
        raise FileNotFoundError(f'checkpoint {path} {what}: give the path of a file')
    _check_beginning(path)
    if path.suffix == '.safetensors':
        return _read_safetensors(path)
    if is_torchscript(path):
        return _unpack(read_torchscript(path), str(path))
    read = _read_numpy_pickle if path.suffix == '.pkl' else load_checkpoint
    return _unpack(read(path), str(path))


def _check_beginning(path: Path) -> None:
    with path.open('rb') as file:
        beginning = file.read(64).lstrip()
    if not beginning:
        raise ValueError(f'{path} is empty: copy or download it again')
    if beginning.startswith(b'<'):
        raise ValueError(f'{path} is a web page, not weights: its download went wrong, do it again')
    if beginning.startswith(b'version https://git-lfs'):
        raise ValueError(f'{path} is a Git LFS pointer, not weights: run git lfs pull')


def _read_safetensors(path: Path) -> Weights:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework='pt') as file:
            meta = {key: _from_json(text) for key, text in (file.metadata() or {}).items()}
            return Weights({key: file.get_tensor(key) for key in file.keys()}, meta, str(path))  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(
            f'{path} is cut off or no safetensors file ({error}): copy or export it again'
        ) from error


def _from_json(text: str) -> Any:
    """Decode a metadata string: JSON in exports of densecl, plain text in other files."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


class _NumpyUnpickler(pickle._Unpickler):
    """The unpickler in Python. The one in C allocates as much memory as the file asks for."""

    dispatch = dict(pickle._Unpickler.dispatch)

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ('_codecs', 'encode'):
            return _latin1
        if (module, name) == ('collections', 'OrderedDict'):
            return collections.OrderedDict
        if f'{module}.{name}' not in NUMPY:
            raise pickle.UnpicklingError(f'it needs {module}.{name}')
        return NUMPY[f'{module}.{name}']

    def _load_bytearray8(self) -> None:
        self.append(bytearray(self.read(int.from_bytes(self.read(8), 'little'))))

    dispatch[pickle.BYTEARRAY8[0]] = _load_bytearray8


def _latin1(text: str, encoding: str) -> bytes:
    """Decode bytes as pickle's old protocols write them; other codecs are refused, as some decompress."""
    if encoding != 'latin1':
        raise pickle.UnpicklingError(f'it needs the codec {encoding}')
    return text.encode('latin1')


def _read_numpy_pickle(path: Path) -> dict:
    try:
        return _NumpyUnpickler(io.BytesIO(path.read_bytes()), encoding='latin1').load()
    except Exception as error:  # a damaged pickle raises errors of many types
        said = ' '.join(str(error).split())[:200]
        raise pickle.UnpicklingError(
            f'{path}: refused, only whole pickles of numpy arrays are read ({said}); if you trust '
            'it, load it elsewhere and save its state dict with torch.save'
        ) from error


def _unpack(content: Any, source: str) -> Weights:
    if not isinstance(content, dict):
        raise ValueError(f'{source} holds a {type(content).__name__}, expected a dict of tensors')
    meta = content.get('meta') if isinstance(content.get('meta'), dict) else {}
    inner = next((content[k] for k in _CONTAINERS if isinstance(content.get(k), dict)), content)
    tensors = _tensors_of(inner)
    if not tensors:
        parts = {k: content[k] for k in _BRANCHES if isinstance(content.get(k), dict)}
        tensors = {f'{k}.{n}': t for k, part in parts.items() for n, t in _tensors_of(part).items()}
    if not tensors:
        keys = ', '.join(map(str, list(content)[:8])) or 'nothing'
        raise ValueError(
            f'{source} holds no tensors where a state dict is expected (top-level keys: {keys}); '
            f'put the state dict under one of {", ".join(_CONTAINERS)}'
        )
    tensors = fold_low_rank(tensors)
    named = from_detectron2(tensors)
    return Weights(named, meta, source, None if named is tensors else 'detectron2')


def _tensors_of(state: dict) -> dict[str, Tensor]:
    found = {}
    for key, value in state.items():
        if isinstance(value, Tensor):
            found[str(key)] = value
        elif isinstance(value, np.ndarray) and value.ndim and value.dtype.kind in 'biufc':
            found[str(key)] = torch.from_numpy(value.copy())
    return found
