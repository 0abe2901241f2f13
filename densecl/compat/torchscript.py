"""The tensors of a TorchScript archive, as OpenAI's CLIP files are; none of its code is run, or even read."""

import collections
import io
import math
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_DTYPES = {
    'Float': torch.float32, 'Half': torch.float16, 'BFloat16': torch.bfloat16, 'Double': torch.float64,
    'Long': torch.int64, 'Int': torch.int32, 'Short': torch.int16, 'Char': torch.int8, 'Byte': torch.uint8,
    'Bool': torch.bool,
}  # fmt: skip


class _Part:
    """An object of the archive: its attributes, no class."""


def _tensor(storage: Tensor, offset: int, size: tuple, stride: tuple, *_: Any) -> Tensor:
    if math.prod(size) > storage.numel():
        raise pickle.UnpicklingError(f'a tensor of {size!s:.40} of {storage.numel()} numbers')
    return storage.as_strided(size, stride, offset).clone()


def _same(value: Any, *_: Any) -> Any:
    return value


_KNOWN = {
    ('collections', 'OrderedDict'): collections.OrderedDict,
    ('torch._utils', '_rebuild_tensor_v2'): _tensor,
    ('torch.jit._pickle', 'restore_type_tag'): _same,
    **{('torch.jit._pickle', f'build_{kind}list'): _same for kind in ('int', 'double', 'bool', 'tensor')},
    **{('torch', f'{kind}Storage'): dtype for kind, dtype in _DTYPES.items()},
}


class _Unpickler(pickle._Unpickler):
    """The one in Python: that in C takes a file's word for how much memory it needs."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        self.archive, self.root = archive, root
        super().__init__(io.BytesIO(archive.read(f'{root}data.pkl')))

    def find_class(self, module: str, name: str) -> Any:
        if module.split('.')[0] == '__torch__':
            return _Part
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError(f'it needs {module}.{name}')
        return _KNOWN[module, name]

    def persistent_load(self, pid: tuple) -> Tensor:
        _, dtype, key, *_ = pid
        data = self.archive.read(f'{self.root}data/{key}')
        return torch.frombuffer(bytearray(data), dtype=dtype) if data else torch.empty(0, dtype=dtype)


def is_torchscript(path: str | Path) -> bool:
    """Whether a file is an archive that ``torch.jit.save`` wrote."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith('/constants.pkl') for name in archive.namelist())
    except Exception:  # no zip, or a damaged one, of which whoever reads it tells
        return False


def read_torchscript(path: str | Path) -> dict[str, Tensor]:
    """Name -> tensor on the CPU: parameters and all buffers, those that a state dict would leave out, too.

    Raises:
        ValueError: the archive is damaged, or holds more than modules and tensors.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            mark = next(name for name in archive.namelist() if name.endswith('/constants.pkl'))
            root = mark.removesuffix('constants.pkl')
            read = (x for x in archive.infolist() if x.filename.startswith(f'{root}data'))
            if any(x.compress_type for x in read):  # torch.jit.save compresses code alone
                raise pickle.UnpicklingError('its tensors are compressed')
            model = _Unpickler(archive, root).load()
        return dict(_named(model, ''))
    except Exception as error:  # a damaged pickle runs into whatever comes first
        said = ' '.join(str(error).split())[:200] or type(error).__name__
        raise ValueError(
            f'{path} is a TorchScript archive that could not be read ({said}): '
            "save torch.jit.load(FILE, map_location='cpu').state_dict() with torch.save, and give that file"
        ) from error


def _named(part: _Part, prefix: str) -> Iterator[tuple[str, Tensor]]:
    for name, value in vars(part).items():
        if isinstance(value, Tensor):
            yield prefix + name, value
        elif isinstance(value, _Part):
            yield from _named(value, f'{prefix}{name}.')
