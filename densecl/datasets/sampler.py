"""The order in which a process sees the images of an epoch."""

from collections.abc import Iterator, Sized
from typing import NamedTuple

import numpy as np
from mmengine.dist import get_dist_info
from torch.utils.data import Sampler

from densecl.registry import DATA_SAMPLERS


class SampleKey(NamedTuple):
    """Epoch and index of an image; with the data set's seed they determine its views."""

    epoch: int
    index: int


@DATA_SAMPLERS.register_module()
class PretrainSampler(Sampler):
    """A new order every epoch, divided among the processes; an epoch can start at any sample.

    The order is a function of (seed, epoch). There are two forms. In the first, process r of W takes
    positions r, r + W, ... So global step t has the same set of images for every W with the same global batch
    size. The second form is for sources with shards: the shards are permuted, and each process takes one
    contiguous part and shuffles it within windows. Files are then read in long runs, but the sets depend on
    W. Every process yields the same number of keys.

    Args:
        dataset: sized; its ``shard_starts`` and ``shuffle_window`` (see
            :class:`densecl.datasets.sources.Source`), if it has them, select the second form.
        shuffle: False: images in the dataset's order, divided as r, r + W, ...
        seed: seed of the order; None is 0. The views have the dataset's own seed.
        round_up: if the number of images is not a multiple of W: repeat some (True) or leave out up to W - 1
            (False). With False and ``drop_last`` of the loader, an epoch has the same number of steps for
            every W.
    """

    def __init__(
        self, dataset: Sized, shuffle: bool = True, seed: int | None = None, round_up: bool = False
    ) -> None:
        self.dataset, self.shuffle, self.seed, self.round_up = dataset, shuffle, seed or 0, round_up
        self.rank, self.world_size = get_dist_info()
        self.epoch = 0
        self._start = 0
        if len(self) == 0:
            raise ValueError(f'PretrainSampler: {len(dataset)} images for {self.world_size} processes')

    def __len__(self) -> int:
        """Number of keys in a whole epoch of this process."""
        extra = self.world_size - 1 if self.round_up else 0
        return (len(self.dataset) + extra) // self.world_size

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration."""
        self.epoch = epoch

    def set_start(self, samples: int) -> None:
        """Skip this process's first ``samples`` keys in the next iteration over the sampler only."""
        if not 0 <= samples <= len(self):
            raise ValueError(f'PretrainSampler: start {samples} is not within 0..{len(self)}')
        self._start = samples

    def __iter__(self) -> Iterator[SampleKey]:
        start, self._start = self._start, 0
        epoch = self.epoch
        return (SampleKey(epoch, int(index)) for index in self._order(epoch)[start:])

    def _order(self, epoch: int) -> np.ndarray:
        """(len(self),) indices of this process in one epoch."""
        count, total = len(self.dataset), len(self) * self.world_size
        if not self.shuffle:
            return np.resize(np.arange(count), total)[self.rank :: self.world_size]
        rng = np.random.default_rng((self.seed, epoch))
        starts = getattr(self.dataset, 'shard_starts', None)
        if starts is None:
            return np.resize(rng.permutation(count), total)[self.rank :: self.world_size]
        order = np.resize(shard_order(np.minimum(starts, count), rng), total)
        part = order.reshape(self.world_size, -1)[self.rank]
        window = getattr(self.dataset, 'shuffle_window', None) or len(part)
        rng = np.random.default_rng((self.seed, epoch, self.rank))
        return shuffle_windows(part, window, rng)


def shard_order(starts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Indices 0..N-1 with the shards in random order; within a shard the order is ascending.

    Args:
        starts: (S + 1,) first index of each shard, then N.
        rng: used for one permutation.

    Returns:
        (N,) int64.
    """
    runs = [np.arange(starts[s], starts[s + 1]) for s in rng.permutation(len(starts) - 1)]
    return np.concatenate(runs)


def shuffle_windows(order: np.ndarray, window: int, rng: np.random.Generator) -> np.ndarray:
    """Shuffle each block of ``window`` consecutive entries separately."""
    blocks = np.arange(len(order)) // window
    # A sort by (block, random number) permutes within the blocks.
    return order[np.lexsort((rng.random(len(order)), blocks))]
