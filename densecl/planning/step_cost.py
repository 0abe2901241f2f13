"""Counts the cost of a step on fake tensors: memory over time, operations, and bytes that they move."""

import weakref
from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

aten = torch.ops.aten
_HALF = (torch.float16, torch.bfloat16)
_FLOPS = {  # attention on a CPU, which is missing in torch's registry of FLOP formulas
    aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(
        q.shape, k.shape, v.shape
    ),
    aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda grad, q, k, v, *_, **__: sdpa_backward_flop_count(grad.shape, q.shape, k.shape, v.shape)
    ),
}


@dataclass(frozen=True)
class Operation:
    """A kind of operation whose time is estimated.

    Attributes:
        kind: ``'half'``, ``'tf32'`` (a convolution in float32) or ``'fp32'``.
        flops: number of products and sums.
        moved: bytes read and written.
    """

    kind: str
    flops: int
    moved: int


class StepCounter(TorchDispatchMode):
    """Counts operations inside its context; enter it after the fake mode.

    Attributes:
        live: bytes of the tensors that were made in the context and still exist.
        peak: largest value of ``live`` so far.
        operations: operation -> number of calls.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.operations: Counter[Operation] = Counter()
        self._storages: dict[int, weakref.ref] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run the operation and count it."""
        result = func(*args, **(kwargs or {}))
        read, made = _tensors((args, kwargs)), _tensors(result)
        there = {x.untyped_storage()._cdata for x in read}  # views and in-place changes need no new memory
        for tensor in made:
            if tensor.untyped_storage()._cdata not in there:
                self._watch(tensor.untyped_storage())
        if not func.is_view and made:
            self._count(func, args, kwargs or {}, result, (*read, *made))
        return result

    def _watch(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._storages:
            return

        def gone(_, key=key, size=size):
            self._storages.pop(key, None)
            self.live -= size

        self._storages[key] = weakref.ref(storage, gone)
        self.live += size
        self.peak = max(self.peak, self.live)

    def _count(self, func, args, kwargs, result, touched: tuple[Tensor, ...]) -> None:
        packet = func._overloadpacket
        if packet in (aten.detach, aten.empty, aten.empty_like, aten.new_empty, aten.empty_strided):
            return
        formula = _FLOPS.get(packet)
        if formula is None and packet in flop_registry:
            flops = flop_registry[packet](*args, **kwargs, out_val=result)
        else:
            flops = formula(*args, **kwargs) if formula else 0
        moved = sum(x.numel() * x.element_size() for x in touched)
        self.operations[Operation(_kind(packet, touched[-1].dtype), flops, moved)] += 1

    @property
    def flops(self) -> int:
        """FLOPs of all operations; a product and a sum are two."""
        return sum(operation.flops * count for operation, count in self.operations.items())

    @property
    def calls(self) -> int:
        """Number of operations that would be launched on a GPU."""
        return sum(self.operations.values())


def _tensors(values) -> list[Tensor]:
    return [x for x in tree_leaves(values) if isinstance(x, Tensor)]


def _kind(packet, dtype: torch.dtype) -> str:
    if dtype in _HALF:
        return 'half'
    return 'tf32' if packet in (aten.convolution, aten.convolution_backward) else 'fp32'


def size_of(tensors) -> int:
    """Bytes of tensors; shared memory counts once."""
    storages = {}
    for tensor in tensors:
        storage = tensor.untyped_storage()
        storages[storage._cdata] = storage.nbytes()
    return sum(storages.values())
