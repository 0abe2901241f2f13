"""SiT's decoder as matrices in float64."""

import torch
from torch.nn.functional import gelu

from densecl.models.necks import PixelDecoder


def test_each_token_makes_its_own_pixels():
    torch.manual_seed(0)
    decoder = PixelDecoder(6, patch=4).double()
    levels = torch.randn(2, 6, 2, 3, dtype=torch.float64), torch.randn(2, 6, 1, 1, dtype=torch.float64)
    found = decoder(levels, None)
    assert found.shape == (2, 3, 8, 12)
    layers = [layer for layer in decoder.mlp if hasattr(layer, 'weight')]
    assert len(layers) == 3 and all(layer.bias.abs().max() == 0 for layer in layers)
    for b, y, x in [(b, y, x) for b in range(2) for y in range(2) for x in range(3)]:
        token = levels[0][b, :, y, x]
        for layer in layers:
            token = gelu(layer.weight[:, :, 0, 0] @ token + layer.bias)
        want = torch.einsum('c,cdij->dij', token, decoder.pixels.weight) + decoder.pixels.bias[:, None, None]
        torch.testing.assert_close(found[b, :, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4], want)


def test_parameters_of_the_official_head():
    """Three layers of 384 x 384 and biases, and 384 x 3 x 16 x 16 with 3 biases."""
    decoder = PixelDecoder(384, patch=16)
    assert sum(p.numel() for p in decoder.parameters()) == 3 * (384 * 384 + 384) + 384 * 768 + 3
