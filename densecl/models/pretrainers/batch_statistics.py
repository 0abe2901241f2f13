"""Two ways to prevent a leak through batch statistics: shuffled keys, and statistics of parts of a batch.

If a query and its positive key are normalised with the same batch statistics, the network can find the
positive without looking at the image (MoCo, He et al., 2020, section 3.3).
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

from densecl.distributed import all_to_all, rank, world_size

from .levels import Levels


class Shuffle:
    """A random permutation of the images of all processes, B of each, and its inverse.

    A row is sent only to the process that needs it. The host knows how many rows go where, so nothing waits
    for the device.

    Args:
        count: B, the same in all processes.
        seed: the same in all processes. The order depends on it only, so a resumed run repeats the order.
        device: the device of the rows.
    """

    def __init__(self, count: int, seed: int, device: torch.device) -> None:
        world, me = world_size(), rank()
        with _disable_current_modes():  # fake tensors have no values, but the host needs these numbers
            order = torch.randperm(count * world, generator=torch.Generator().manual_seed(seed)).numpy()
        images = order.reshape(world, count)[me]  # the image at each place of this process
        places = order.argsort().reshape(world, count)[me]  # the place of each of its own images
        # Images are sent in the order of their places, so they are grouped by the process that gets them.
        leave = places.argsort()
        arrive = (images // count).argsort(kind='stable')
        moves = torch.from_numpy(np.stack([leave, leave.argsort(), arrive, arrive.argsort()]))
        if device.type == 'cuda':  # copied without making the host wait
            moves = moves.pin_memory().to(device, non_blocking=True)
        self._leave, self._left, self._arrive, self._arrived = moves
        self._sent, self._received = (
            np.bincount(x // count, minlength=world).tolist() for x in (places, images)
        )

    def __call__(self, x: Tensor) -> Tensor:
        """(B, ...) of this process's images -> (B, ...) of the images at its places in the random order."""
        return all_to_all(x[self._leave], self._sent, self._received)[self._arrived]

    def back(self, x: Tensor) -> Tensor:
        """The inverse: (B, ...) in the random order -> (B, ...) of this process's images."""
        return all_to_all(x[self._arrive], self._received, self._sent)[self._left]


def encode_shuffled(encode: Callable[[Tensor], tuple[Tensor, ...]], images: Tensor, seed: int) -> Levels:
    """Encode images (B, 3, H, W) in a random order over all processes. Each level is put in order when read.

    The shape of ``images`` and ``seed`` must be the same on every rank; see :class:`Shuffle`. All ranks must
    read the same levels in the same order, as each read is a communication.
    """
    shuffle = Shuffle(len(images), seed, images.device)
    return Levels(encode(shuffle(images)), shuffle.back)


class GroupedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm of (B, C, H, W) with separate statistics for each of ``groups`` consecutive parts of B."""

    groups = 1

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.groups == 1:
            return super().forward(x)
        if len(x) % self.groups:
            raise ValueError(
                f'bn_groups={self.groups} does not divide the batch of {len(x)} images a process'
            )
        return torch.cat([nn.BatchNorm2d.forward(self, part) for part in x.chunk(self.groups)])


def group_batch_norm(module: nn.Module, groups: int) -> nn.Module:
    """Turn every BatchNorm2d in ``module`` into :class:`GroupedBatchNorm2d`; there must be at least one.

    State dict keys do not change. In eval mode the output does not change.
    """
    layers = [layer for layer in module.modules() if type(layer) is nn.BatchNorm2d]
    if not layers:
        raise ValueError(f'bn_groups={groups}: {type(module).__name__} has no BatchNorm2d to group')
    for layer in layers:
        layer.__class__ = GroupedBatchNorm2d
        layer.groups = groups
    return module
