"""Against the leak of batch statistics: shuffled keys and statistics of parts of a batch.

A query and its positive key that are normalised with the same batch statistics let the network find the
positive without looking at the image (MoCo, He et al., 2020, section 3.3).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from densecl.distributed import all_gather, rank, world_size


def encode_shuffled(
    encode: Callable[[Tensor], tuple[Tensor, ...]], images: Tensor, seed: int
) -> tuple[Tensor, ...]:
    """Encode (B, 3, H, W) images in a random order over all processes, and put the results back in order.

    The images have the same shape on every rank, and ``seed`` is the same; the permutation depends on nothing
    else, so a resumed run repeats it.
    """
    total = len(images) * world_size()
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
    if images.is_cuda:  # copied without making the host wait
        order = order.pin_memory().to(images.device, non_blocking=True)
    mine = order.chunk(world_size())[rank()]
    encoded = encode(all_gather(images)[mine])
    # Shuffled position of each of this rank's own images.
    back = order.argsort().chunk(world_size())[rank()]
    return tuple(all_gather(level)[back] for level in encoded)


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
