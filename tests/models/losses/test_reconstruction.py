"""Distances of predictions from answers."""

from types import SimpleNamespace

import pytest
import torch

from densecl.models.losses import Reconstruction
from densecl.structures import Comparison


def compared(query, key, valid):
    comparison = Comparison.of_sets(query, key)
    comparison.match.valid = valid
    return comparison


@pytest.mark.parametrize('distance', ['squared', 'absolute'])
@pytest.mark.parametrize('mean', ['counted', 'images'])
def test_value(distance, mean):
    query, key = torch.randn(2, 3, 4, 5, dtype=torch.float64).unbind()
    valid = torch.tensor([[1, 1, 0, 1], [0, 0, 0, 0], [0, 1, 0, 0]]).bool()
    loss, _ = Reconstruction(distance, mean).score(compared(query, key, valid))
    power = {'squared': 2, 'absolute': 1}[distance]
    terms = ((query - key).abs() ** power).mean(2).tolist()
    if mean == 'counted':
        want = (terms[0][0] + terms[0][1] + terms[0][3] + terms[2][1]) / 4
    else:
        want = ((terms[0][0] + terms[0][1] + terms[0][3]) / 3 + terms[2][1]) / 3
    assert loss.item() == pytest.approx(want, rel=1e-12)


def test_gradient_reaches_the_query_alone():
    query, key = torch.randn(2, 3, 4, 5).unbind()
    query.requires_grad_(), key.requires_grad_()
    loss, _ = Reconstruction().score(compared(query, key, None))
    loss.backward()
    assert key.grad is None
    torch.testing.assert_close(query.grad, 2 * (query - key).detach() / query.numel())


def test_half_precision_is_computed_in_full():
    query, key = torch.full((1, 1, 4), 300.0, dtype=torch.float16), torch.zeros(1, 1, 4, dtype=torch.float16)
    with torch.autocast('cpu', dtype=torch.float16):
        loss, _ = Reconstruction().score(compared(query, key, None))
    assert loss.dtype == torch.float32 and loss.item() == 90000  # float16 ends at 65,504


@pytest.mark.parametrize('border', [1, 2])
def test_the_border_counts_more(border):
    """Pixel by pixel: what is near a hole has ten times the weight, and the mean is not divided by it."""
    query, key = torch.randn(2, 2, 30, 3, dtype=torch.float64).unbind()
    hole = torch.zeros(2, 5, 6, dtype=torch.bool)
    hole[0, 2, 2:4], hole[1, 0, 0] = True, True
    comparison = compared(query.requires_grad_(), key, hole.flatten(1))
    comparison.query.place = SimpleNamespace(grid=(5, 6))
    loss, _ = Reconstruction(border=border, border_weight=10.0).score(comparison)
    terms = ((query - key) ** 2).mean(2).view(2, 5, 6)
    total, count = 0.0, 0
    for b, y, x in hole.new_ones(2, 5, 6).nonzero().tolist():
        away = min(max(abs(y - i), abs(x - j)) for i, j in hole[b].nonzero().tolist())
        if away <= border:
            total += (10.0 if away else 1.0) * terms[b, y, x].item()
            count += 1
    assert loss.item() == pytest.approx(total / count, rel=1e-12)


def test_a_border_without_a_hole():
    comparison = compared(
        torch.randn(1, 6, 3).requires_grad_(), torch.randn(1, 6, 3), torch.zeros(1, 6).bool()
    )
    comparison.query.place = SimpleNamespace(grid=(2, 3))
    loss, _ = Reconstruction(border=2).score(comparison)
    loss.backward()
    assert loss.item() == 0


def test_what_it_refuses():
    with pytest.raises(ValueError, match="distance must be 'squared' or 'absolute', got 'l2'"):
        Reconstruction('l2')
    with pytest.raises(ValueError, match='5 values are predicted of a unit, its answer has 6'):
        Reconstruction().score(compared(torch.zeros(1, 2, 5), torch.zeros(1, 2, 6), None))
