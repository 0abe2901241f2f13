"""Run by test_shuffles_of_processes.py: what a shuffled pass sees and gives back on this rank, to a file."""

import torch
from torch import Tensor

from densecl.distributed import all_gather, rank, world_size
from densecl.models.pretrainers.batch_statistics import Shuffle, encode_shuffled
from densecl.planning.wire import WireCounter

COUNT, SIZE = 5, (3, 4, 6)


def by_gathering(images: Tensor, encode, seed: int) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The plain form: everything of all ranks, of which each takes the rows that it wants."""
    order = torch.randperm(len(images) * world_size(), generator=torch.Generator().manual_seed(seed))
    seen = all_gather(images)[order.chunk(world_size())[rank()]]
    back = order.argsort().chunk(world_size())[rank()]
    return seen, tuple(all_gather(level)[back] for level in encode(seen))


def levels(x: Tensor) -> tuple[Tensor, ...]:
    """A map, in the memory format of the images, and a token; sums over the batch enter both."""
    return 3 * x - x.sum(0), (x - x.sum()).flatten(1)[:, :7, None, None]


def exchanged(images: Tensor, seed: int) -> tuple[list[Tensor], int]:
    """What the pass sees and gives back, and the bytes that this rank sent."""
    seen = []

    def encode(x: Tensor) -> tuple[Tensor, ...]:
        seen.append(x)
        return levels(x)

    with WireCounter() as wire:
        result = tuple(encode_shuffled(encode, images, seed))
    return [*seen, *result], wire.bytes['all_to_all']


def everything() -> dict:
    torch.manual_seed(rank())
    images = torch.randint(-99, 99, (COUNT, *SIZE)).float()  # their sums are exact in any order
    found = dict(equal=[], formats=[], rows=[], sent=[])
    for seed in range(6):
        found['rows'].append(Shuffle(COUNT, seed, images.device)._sent)
        seen, expected = by_gathering(images, levels, seed)
        for memory_format in (torch.contiguous_format, torch.channels_last):
            got, sent = exchanged(images.contiguous(memory_format=memory_format), seed)
            found['equal'] += [torch.equal(a, b) for a, b in zip(got, (seen, *expected), strict=True)]
            found['formats'] += [x.is_contiguous(memory_format=memory_format) for x in got[:2]]
            found['sent'].append(sent)
    return found
