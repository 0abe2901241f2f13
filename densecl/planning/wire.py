"""Counts the bytes that a rank sends to others, from the collective operations themselves.

Nothing is really sent: torch's fake process group and fake tensors simulate 8 or 512 ranks in one process.
Forward and backward passes are counted, and the buckets of DistributedDataParallel, which C++ reduces.
"""

from collections import Counter
from collections.abc import Callable

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def _parts(world: int) -> float:
    """Number of parts for, or from, the other ranks: w - 1."""
    return (world - 1) / world


# Start of the operator's name -> the collective, and the bytes that one of w ranks sends per byte of its
# input. These are the numbers of a ring, which are the minimum (Patarasu and Yuan, 2009).
_COLLECTIVES: dict[str, tuple[str, Callable[[int], float]]] = {
    'allreduce': ('all_reduce', lambda w: 2 * _parts(w)),
    'allgather': ('all_gather', lambda w: w - 1),
    'reducescatter': ('reduce_scatter', _parts),
    'alltoall': ('all_to_all', _parts),
    'broadcast': ('broadcast', _parts),
    'reduce': ('reduce', _parts),
    'gather': ('gather', _parts),
    'scatter': ('scatter', _parts),
    'send': ('send', lambda w: 1),
    'isend': ('send', lambda w: 1),
}
_SEND_NOTHING = ('recv', 'irecv', 'barrier', 'monitoredbarrier', 'waittensor', 'checkfornan', 'wraptensor')
_INPUTS = ('input_tensor', 'input_tensors', 'input_list', 'input', 'inputs', 'tensors', 'tensor')


class WireCounter(TorchDispatchMode):
    """Counts, inside its context, the bytes that this rank sends to other ranks.

    It works with any backend, inside and outside a ``FakeTensorMode``. Without a GPU driver a backward pass
    needs fake tensors on the CPU. DistributedDataParallel needs a real backend: with the fake one torch 2.14
    fails in its backward pass (which all-reduces each gradient once per step). ::

        dist.init_process_group('fake', store=FakeStore(), rank=0, world_size=8)
        with WireCounter() as wire:
            sum(model.loss(views).values()).backward()
        wire.bytes['all_gather'], wire.calls['all_gather']

    With n bytes on each of w ranks, ``all_gather`` sends n * (w - 1), ``all_reduce`` 2 * n * (w - 1) / w,
    ``reduce_scatter`` n * (w - 1) / w and ``send`` n. ``all_to_all`` sends everything that is not for the
    rank itself, by its split sizes. For ``broadcast``, ``reduce`` and ``gather`` the mean over the ranks is
    counted, n * (w - 1) / w.

    Attributes:
        bytes: collective -> bytes sent so far; 0 for one that was not called.
        calls: collective -> number of calls.

    Raises:
        NotImplementedError: an unknown collective was called.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bytes: dict[str, int] = Counter()
        self.calls: dict[str, int] = Counter()

    @property
    def total(self) -> int:
        """Bytes of all collectives."""
        return sum(self.bytes.values())

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace in ('c10d', '_c10d_functional', '_c10d_functional_autograd'):
            self._count(func, args)
        return func(*args, **(kwargs or {}))

    def _count(self, func, args: tuple) -> None:
        name = func._schema.name
        short = name.split('::')[1].replace('_', '')
        if short.startswith(_SEND_NOTHING):
            return
        found = next((entry for start, entry in _COLLECTIVES.items() if short.startswith(start)), None)
        if found is None:
            raise NotImplementedError(f'WireCounter: {name} is no known collective; add it to _COLLECTIVES')
        collective, share = found
        named = {argument.name: value for argument, value in zip(func._schema.arguments, args, strict=False)}
        data, group = next(named[key] for key in _INPUTS if key in named), _group(named)
        if collective == 'all_to_all':
            sent = _size(data) - _own(data, named.get('input_split_sizes'), group)
        else:
            sent = round(_size(data) * share(group.size()))
        self.bytes[collective] += sent
        self.calls[collective] += 1


def _group(named: dict):
    """The process group among the arguments of a collective."""
    from torch.distributed import ProcessGroup
    from torch.distributed.distributed_c10d import _resolve_process_group

    if 'process_group' in named:
        return ProcessGroup.unbox(named['process_group'])
    return _resolve_process_group(named['group_name'])


def _size(tensors) -> int:
    """Bytes of all tensors in nested lists."""
    return sum(x.numel() * x.element_size() for x in tree_leaves(tensors) if isinstance(x, Tensor))


def _own(data, splits: list[int] | None, group) -> int:
    """Bytes of the input of an all-to-all that are for the rank itself."""
    if isinstance(data, (list, tuple)):
        return _size(data[group.rank()])
    if not splits:
        return _size(data) // group.size()
    return _size(data) // max(1, sum(splits)) * splits[group.rank()]
