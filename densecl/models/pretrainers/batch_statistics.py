"""Against the leak of batch statistics: shuffled keys and statistics of parts of a batch.

A query and its positive key that are normalised with the same batch statistics let the network find the
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
    """A random order of the B images of each process over all processes, and the way back.

    A row goes from the process that has it to the one that wants it, and nowhere else. How many go where is
    known on the host: nothing waits for the device.

    Args:
        count: B, the same in all processes.
        seed: the same in all processes; the order depends on nothing else, so a resumed run repeats it.
        device: where the rows will be.
    """

    def __init__(self, count: int, seed: int, device: torch.device) -> None:
        world, me = world_size(), rank()
        with _disable_current_modes():  # the host needs the numbers, also where fake tensors play a device
            order = torch.randperm(count * world, generator=torch.Generator().manual_seed(seed)).numpy()
        images = order.reshape(world, count)[me]  # which image stands at each place of this process
        places = order.argsort().reshape(world, count)[me]  # and the place of each of its own images
        # Images leave in the order of their places, and so arrive process by process.
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
        """(B, ...) of this process's own images -> (B, ...) of those that stand here in the random order."""
        return all_to_all(x[self._leave], self._sent, self._received)[self._arrived]

    def back(self, x: Tensor) -> Tensor:
        """(B, ...) in the random order -> (B, ...) of this process's own images."""
        return all_to_all(x[self._arrive], self._received, self._sent)[self._left]


def encode_shuffled(encode: Callable[[Tensor], tuple[Tensor, ...]], images: Tensor, seed: int) -> Levels:
    """Encode (B, 3, H, W) images in a random order over all processes; what is read is put back in order.

    The images have the same shape on every rank, and ``seed`` is the same; see :class:`Shuffle`. All ranks
    read the same levels, in one order.
    """
    shuffle = Shuffle(len(images), seed, images.device)
    return Levels(encode(shuffle(images)), shuffle.back)


class GroupedBatchNorm2d(nn.BatchNorm2d):
    """(B, C, H, W), statistics over each of ``groups`` consecutive parts of the batch."""

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
    """Give every BatchNorm2d in ``module``, which has one at least, statistics over parts of the batch.

    State dict keys stay as they are; in eval mode nothing changes.
    """
    layers = [layer for layer in module.modules() if type(layer) is nn.BatchNorm2d]
    if not layers:
        raise ValueError(f'bn_groups={groups}: {type(module).__name__} has no BatchNorm2d to group')
    for layer in layers:
        layer.__class__ = GroupedBatchNorm2d
        layer.groups = groups
    return module
