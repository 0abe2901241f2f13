"""Distances of predictions from answers."""

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


def test_what_it_refuses():
    with pytest.raises(ValueError, match=r"distance must be one of squared, absolute, got 'l2'"):
        Reconstruction('l2')
    with pytest.raises(ValueError, match='5 values are predicted of a unit, its answer has 6'):
        Reconstruction().score(compared(torch.zeros(1, 2, 5), torch.zeros(1, 2, 6), None))
