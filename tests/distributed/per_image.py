"""Run by test_per_image.py: three steps of two pairs, whose images repeat within and between processes."""

import torch

from densecl.distributed import all_gather, rank, world_size
from densecl.models.memory import PerImage
from densecl.structures import Batch


def everything() -> dict:
    generator = torch.Generator().manual_seed(0)
    state = PerImage(5, 'X', mean=0.0, key=torch.zeros(2)).double()
    found = {}
    for step in range(3):
        indices = torch.randint(5, (8,), generator=generator)
        for _ in 'ab':
            values = torch.randn(8, 3, dtype=torch.float64, generator=generator)
            counted = torch.rand(8, 3, generator=generator) < 0.6
            mine = [x.chunk(world_size())[rank()] for x in (indices, counted, values)]
            state.collect(Batch.numbered(mine[0]), mine[1].flatten(), mine[2].flatten())
        images, mean = state.close()
        state.write(images, mean=state.mean[images] + mean)
        state.write(all_gather(mine[0]), key=all_gather(mine[2][:, :2]))
        found.update({f'mean{step}': state.mean.clone(), f'key{step}': state.key.clone()})
    return found
