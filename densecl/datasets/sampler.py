"""The order in which a process sees the images of an epoch."""

from collections.abc import Iterator, Sized
from typing import NamedTuple

import numpy as np
from mmengine.dist import get_dist_info
from torch.utils.data import Sampler

from densecl.registry import DATA_SAMPLERS


class SampleKey(NamedTuple):
    """Which image, in which epoch: with the dataset's seed, all that its views depend on."""

    epoch: int
    index: int


@DATA_SAMPLERS.register_module()
class PretrainSampler(Sampler):
    """A fresh order every epoch, shared out to the processes, that can start anywhere.

    The order is a function of (seed, epoch). Of images in any order, process r of W takes positions
    r, r + W, ...: the images of global step t are the same set for every W with the same global
    batch size. Where the source keeps its images in shards, shards are permuted, each process takes
    one contiguous part of the result and shuffles it within windows, so that files are read in
    runs; there the sets depend on W. Every process yields the same number of keys.

    Args:
        dataset: sized; its ``shard_starts`` and ``shuffle_window`` (see
            :class:`densecl.datasets.sources.Source`), if it has them, select the second form.
        shuffle: False: images in the dataset's order, split as r, r + W, ...
        seed: of the order; None is 0. The views have the dataset's own seed.
        round_up: where W does not divide the images, repeat some (True) or leave up to W - 1 out
            (False: with ``drop_last`` of the loader, an epoch then has the same number of steps for
            every W).
    """

    def __init__(
        self, dataset: Sized, shuffle: bool = True, seed: int | None = None, round_up: bool = False
    ) -> None:
        self.dataset, self.shuffle, self.seed, self.round_up = dataset, shuffle, seed or 0, round_up
        self.rank, self.world_size = get_dist_info()
        self.epoch = 0
        self._start = 0
        if len(self) == 0:
            raise ValueError(
                f'PretrainSampler: {len(dataset)} images for {self.world_size} processes'
            )

    def __len__(self) -> int:
        """Number of keys in a whole epoch of this process."""
        extra = self.world_size - 1 if self.round_up else 0
        return (len(self.dataset) + extra) // self.world_size

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration."""
        self.epoch = epoch

    def set_start(self, samples: int) -> None:
        """Let the next iteration, and only it, leave out this process's first ``samples`` keys."""
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
    """Indices 0..N-1 with the shards in random order, each shard's own in ascending order.

    Args:
        starts: (S + 1,) first index of each shard, finally N.
        rng: consumed for one permutation.

    Returns:
        (N,) int64.
    """
    runs = [np.arange(starts[s], starts[s + 1]) for s in rng.permutation(len(starts) - 1)]
    return np.concatenate(runs)


def shuffle_windows(order: np.ndarray, window: int, rng: np.random.Generator) -> np.ndarray:
    """Shuffle each run of ``window`` consecutive entries by itself."""
    blocks = np.arange(len(order)) // window
    # sorting by (block, random number) permutes within the blocks
    return order[np.lexsort((rng.random(len(order)), blocks))]
