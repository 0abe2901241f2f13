"""Bytes on the wire of single collectives at a fake world of eight, against their definitions."""

import pytest
import torch
import torch.distributed as dist
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._functional_collectives import all_gather_tensor, all_to_all_single
from torch.testing._internal.distributed.fake_pg import FakeStore

from densecl.distributed import all_reduce, gather
from densecl.planning.wire import WireCounter

WORLD, RANK = 8, 2
ROW = 4 * 5  # bytes of a row of five float32


@pytest.fixture
def world():
    dist.init_process_group('fake', store=FakeStore(), rank=RANK, world_size=WORLD)
    yield
    dist.destroy_process_group()


@pytest.fixture
def x():
    return torch.zeros(16, 5)


def sent(function) -> dict[str, int]:
    with WireCounter() as wire:
        function()
    assert wire.total == sum(wire.bytes.values())
    assert wire.calls == dict.fromkeys(wire.bytes, 1)
    return wire.bytes


def test_each_collective(world, x):
    everybody = torch.zeros(WORLD * 16, 5)
    cases = {
        'all_reduce': (lambda: dist.all_reduce(x), 2 * 16 * ROW * 7 // 8),
        'all_gather': (lambda: dist.all_gather(list(everybody.chunk(WORLD)), x), 7 * 16 * ROW),
        'reduce_scatter': (lambda: dist.reduce_scatter_tensor(x, everybody), 7 * 16 * ROW),
        'broadcast': (lambda: dist.broadcast(x, 0), 7 * 16 * ROW // 8),
        'send': (lambda: dist.send(x, 1), 16 * ROW),
    }
    for name, (call, expected) in cases.items():
        assert sent(call) == {name: expected}, name
    assert sent(lambda: dist.all_gather_into_tensor(everybody, x)) == {'all_gather': 7 * 16 * ROW}
    assert sent(lambda: dist.recv(x, 1)) == {}
    assert sent(dist.barrier) == {}


def test_rows_for_the_rank_itself_are_not_sent(world, x):
    splits = [1, 2, 6, 0, 3, 1, 1, 2]
    assert sent(lambda: dist.all_to_all_single(x, x.clone(), splits, splits)) == {'all_to_all': 10 * ROW}
    assert sent(lambda: dist.all_to_all_single(x, x.clone())) == {'all_to_all': 14 * ROW}
    parts = list(x.clone().split(splits))
    assert sent(lambda: dist.all_to_all(list(x.split(splits)), parts)) == {'all_to_all': 10 * ROW}


def test_functional_collectives(world, x):
    group = dist.group.WORLD
    assert sent(lambda: all_gather_tensor(x, 0, group).wait()) == {'all_gather': 7 * 16 * ROW}
    assert sent(lambda: all_to_all_single(x, None, None, group).wait()) == {'all_to_all': 14 * ROW}


@pytest.mark.parametrize('outside', [False, True])
def test_fake_tensors(world, outside):
    first, second = (WireCounter(), FakeTensorMode())[:: 1 if outside else -1]
    with first, second:
        x = torch.zeros(16, 5, requires_grad=True)
        (gather(x).sum() + all_reduce(x).sum()).backward()
        gather(torch.zeros(16, 5, device='cuda'))
    wire = first if outside else second
    assert wire.calls == {'all_gather': 2, 'reduce_scatter': 1, 'all_reduce': 2}
    assert wire.bytes == {
        'all_gather': 2 * 7 * 16 * ROW,
        'reduce_scatter': 7 * 16 * ROW,
        'all_reduce': 2 * 2 * 16 * ROW * 7 // 8,
    }


def test_an_unknown_collective_is_named(world, x):
    with (
        WireCounter(),
        pytest.raises(NotImplementedError, match='_c10d_functional::batch_p2p_ops is no known'),
    ):
        torch.ops._c10d_functional.batch_p2p_ops(['isend'], [1], [0], [x], dist.group.WORLD.group_name)
