"""Run by test_quantizer_of_two_processes.py: three steps of a quantiser, k-means at the start included."""

import torch

from densecl.distributed import all_reduce, rank, world_size
from densecl.models.necks import VectorQuantizer

IMAGES, CHANNELS, CODES = 8, 6, 11


def everything() -> dict[str, torch.Tensor]:
    """Losses, gradients, codes and their use."""
    torch.manual_seed(0)
    quantizer = VectorQuantizer(CHANNELS, CODES, dim=4, decay=0.7).double().train()
    size = IMAGES // world_size()
    own, found = slice(rank() * size, (rank() + 1) * size), {}
    generator = torch.Generator().manual_seed(1)
    parameters = dict(quantizer.named_parameters())
    for step in range(3):
        maps = torch.randn(IMAGES, CHANNELS, 3, 3, generator=generator, dtype=torch.float64)
        quantized = quantizer(maps[own])
        distance = (quantized.embeddings - quantized.codes).square().mean()
        gradients = torch.autograd.grad(distance, list(parameters.values()))
        quantizer.move()
        found[f'loss{step}'] = all_reduce(distance.detach()) / world_size()
        for name, gradient in zip(parameters, gradients, strict=True):
            found[f'{name}{step}'] = all_reduce(gradient) / world_size()
        found[f'codebook{step}'] = quantizer.codebook.clone()
        found |= {f'{k}{step}': v for k, v in quantizer.log().items()}
        with torch.no_grad():
            for parameter, gradient in zip(parameters.values(), gradients, strict=True):
                parameter -= all_reduce(gradient) / world_size()
    return {**found, **quantizer.state_dict()}
