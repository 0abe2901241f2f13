"""Order, sharing out and resuming."""

import numpy as np
import pytest

from densecl.datasets import PretrainSampler, SampleKey
from densecl.datasets.sampler import shard_order, shuffle_windows


class Shards(list):
    """A list that lies in shards."""

    def __init__(self, sizes, window=None):
        super().__init__(range(sum(sizes)))
        self.shard_starts = np.cumsum([0, *sizes])
        self.shuffle_window = window


def sampler(monkeypatch, dataset, rank=0, world=1, **options):
    monkeypatch.setattr('densecl.datasets.sampler.get_dist_info', lambda: (rank, world))
    return PretrainSampler(dataset, **options)


def indices(sampler, epoch=0):
    sampler.set_epoch(epoch)
    keys = list(sampler)
    assert all(isinstance(k, SampleKey) and k.epoch == epoch for k in keys)
    assert len(keys) == len(sampler)
    return [k.index for k in keys]


def test_order_is_a_function_of_seed_and_epoch(monkeypatch):
    data = range(100)
    first = sampler(monkeypatch, data, seed=3)
    orders = [indices(first, epoch) for epoch in (0, 1, 0)]
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == list(data)
    assert orders[0] == indices(sampler(monkeypatch, data, seed=3))
    assert orders[0] != indices(sampler(monkeypatch, data, seed=4))
    assert indices(sampler(monkeypatch, data, seed=None)) == indices(sampler(monkeypatch, data, seed=0))
    assert indices(sampler(monkeypatch, data, shuffle=False), 5) == list(data)


@pytest.mark.parametrize('shuffle', [True, False])
@pytest.mark.parametrize('count', [64, 67, 103])
@pytest.mark.parametrize('world', [2, 4, 8])
def test_steps_hold_the_same_images_for_any_world_size(monkeypatch, count, world, shuffle):
    def steps(world, batch=16):
        ranks = [
            indices(sampler(monkeypatch, range(count), r, world, shuffle=shuffle), 2)
            for r in range(world)
        ]
        own = batch // world
        return [
            {i for order in ranks for i in order[t * own : (t + 1) * own]}
            for t in range(len(ranks[0]) // own)  # drop_last
        ]

    assert steps(world) == steps(1) and len(steps(1)) == count // 16


@pytest.mark.parametrize('data', [range(10), Shards([4, 6])], ids=['files', 'shards'])
@pytest.mark.parametrize('world', [1, 3, 4])
def test_ranks_get_equal_parts(monkeypatch, world, data):
    for round_up in (False, True):
        parts = [
            indices(sampler(monkeypatch, data, r, world, round_up=round_up)) for r in range(world)
        ]
        assert {len(p) for p in parts} == {-(-10 // world) if round_up else 10 // world}
        seen = [i for p in parts for i in p]
        if round_up:
            assert set(seen) == set(range(10))
        else:
            assert len(set(seen)) == len(seen)


def test_more_processes_than_images(monkeypatch):
    with pytest.raises(ValueError, match='3 images for 4 processes'):
        sampler(monkeypatch, range(3), 0, 4)
    assert len(indices(sampler(monkeypatch, range(3), 7, 8, round_up=True))) == 1


@pytest.mark.parametrize('data', [range(50), Shards([20, 5, 25], 8)], ids=['files', 'shards'])
def test_start_in_mid_epoch(monkeypatch, data):
    one = sampler(monkeypatch, data, 1, 2)
    whole, other = indices(one, 3), indices(one, 4)
    one.set_epoch(3)
    one.set_start(7)
    assert [k.index for k in one] == whole[7:] and len(one) == 25
    assert indices(one, 4) == other  # the start holds once
    one.set_start(25)
    assert list(one) == []
    for bad in (-1, 26):
        with pytest.raises(ValueError, match=r'not within 0\.\.25'):
            one.set_start(bad)


def test_shard_order():
    starts = np.array([0, 3, 3, 7, 9])
    order = shard_order(starts, np.random.default_rng(0)).tolist()
    assert sorted(order) == list(range(9))
    runs = [[0, 1, 2], [3, 4, 5, 6], [7, 8]]
    assert all(order[order.index(r[0]) :][: len(r)] == r for r in runs)


def test_shuffle_windows_moves_nothing_further_than_its_window():
    order = np.arange(1000) * 3
    mixed = shuffle_windows(order, 64, np.random.default_rng(1))
    for start in range(0, 1000, 64):
        part = mixed[start : start + 64]
        assert sorted(part) == order[start : start + 64].tolist()
        assert part.tolist() != sorted(part)


def test_shards_are_read_in_runs_and_each_rank_reads_its_own(monkeypatch):
    data = Shards([100] * 16, window=200)
    shards_of = []
    for rank in range(4):
        order = np.array(indices(sampler(monkeypatch, data, rank, 4)))
        shards_of.append(set(order // 100))
        for start in range(0, 400, 200):
            assert len(set(order[start : start + 200] // 100)) == 2
    assert sum(map(len, shards_of)) == 16 and set.union(*shards_of) == set(range(16))


def test_window_none_mixes_the_whole_part(monkeypatch):
    order = indices(sampler(monkeypatch, Shards([100] * 4)))
    assert len({i // 100 for i in order[:50]}) == 4


def test_dataset_cut_short_by_the_loader(monkeypatch):
    data = Shards([40, 40, 40])
    del data[50:]  # mmengine's num_batch_per_epoch does so
    assert sorted(indices(sampler(monkeypatch, data))) == list(range(50))
