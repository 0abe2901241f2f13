"""A CUDA device that is not there: fake tensors say that they are on it, and what waits for it is noticed.

Tensors of the CPU stay real, so that what the host decides (which samples are blurred) is decided. What the
host would have to ask the device raises at its line, by torch's fake tensors: ``item``, ``nonzero``, boolean
indexing. Copies to the device and from it that block the host are listed.
"""

import traceback

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from densecl.planning.fake import fake_tensor

UPLOADS = (torch.tensor, torch.as_tensor, torch.from_numpy, Tensor.new_tensor)


class PlayedDevice(TorchFunctionMode):
    """Plays ``cuda`` while it is entered.

    Attributes:
        waits: lines at which a copy would block the host.
    """

    def __init__(self, mode: FakeTensorMode) -> None:
        super().__init__()
        self.mode = mode
        self.waits: list[str] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Send what goes to the device into the fake mode."""
        kwargs = kwargs or {}
        if func is Tensor.pin_memory:
            return args[0]
        device = self._device(func, args, kwargs)
        there = device is not None and device.type == 'cuda'
        if not there and not any(isinstance(x, FakeTensor) for x in tree_leaves((args, kwargs))):
            return func(*args, **kwargs)
        if there and func in (Tensor.to, Tensor.cuda) and not isinstance(args[0], FakeTensor):
            if not kwargs.get('non_blocking'):
                self._waits()
            kwargs = {k: v for k, v in kwargs.items() if k != 'non_blocking'}
            args = (fake_tensor(self.mode, args[0], 'cuda'), *args[1:])
        if there and func in UPLOADS:
            self._waits()
        comes_back = func is Tensor.cpu or (func is Tensor.to and device is not None and not there)
        if comes_back and isinstance(args[0], FakeTensor) and args[0].device.type == 'cuda':
            self._waits()
        with self.mode:
            return func(*args, **kwargs)

    def _device(self, func, args, kwargs) -> torch.device | None:
        """The device of the result, where it is named."""
        found = kwargs.get('device')
        if found is None and func in (Tensor.to, Tensor.cuda):
            places = (x for x in args[1:] if isinstance(x, (str, torch.device, Tensor)))
            found = next(places, 'cuda' if func is Tensor.cuda else None)
            found = found.device if isinstance(found, Tensor) else found
        if found is None and func is Tensor.new_tensor:
            found = args[0].device
        return None if found is None else torch.device(found)

    def _waits(self) -> None:
        frames = traceback.extract_stack()
        *_, last = (f for f in frames if f.filename != __file__ and '/torch/' not in f.filename)
        self.waits.append(f'{last.filename}:{last.lineno} {last.line}')
