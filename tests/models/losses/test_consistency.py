"""The objective on cells: value and diagnostics."""

import pytest
import torch

from densecl.models.losses import PixelConsistency
from densecl.models.losses.functional import pixel_consistency


@pytest.fixture
def cells():
    generator = torch.Generator().manual_seed(0)
    query, keys = torch.randn(2, 4, 6, 5, generator=generator, dtype=torch.float64).unbind()
    positives = torch.rand(4, 6, 6, generator=generator) < 0.4
    positives[0] = False
    return query, keys, positives


def test_consistency(cells):
    query, keys, positives = cells
    loss, diagnostics = PixelConsistency()(query, keys, positives)
    flat = query.transpose(1, 2), keys.transpose(1, 2)
    assert loss == pixel_consistency(*flat, positives)
    of_matched = pixel_consistency(*(x[1:] for x in flat), positives[1:])
    torch.testing.assert_close(diagnostics['pos_sim'], -of_matched, rtol=1e-6, atol=0)
    loss, diagnostics = PixelConsistency()(query, keys, positives & False)
    assert loss == 0 and diagnostics['pos_sim'] == 0
