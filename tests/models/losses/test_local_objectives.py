"""The modules of VICRegL and SCRL against the pure functions."""

import pytest
import torch

from densecl.models.losses import PositionVICReg, RegionConsistency
from densecl.models.losses import functional as L


def draw(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def test_position_vicreg_is_the_function():
    first, second = (draw(6, 5, 4).requires_grad_() for _ in 'ab')
    loss, found = PositionVICReg(25.0, 20.0, 2.0)(first, second)
    want = L.position_vicreg(first, second, 25.0, 20.0, 2.0)
    torch.testing.assert_close(loss, want, rtol=1e-12, atol=0)
    for got, expected in zip(
        torch.autograd.grad(loss, (first, second)), torch.autograd.grad(want, (first, second)), strict=True
    ):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)
    parts = 25 * found['invariance'] + 20 * found['variance'] + 2 * found['covariance']
    torch.testing.assert_close(parts, loss.detach())


def test_position_vicreg_needs_two_images():
    with pytest.raises(ValueError, match='at least 2'):
        PositionVICReg()(draw(1, 5, 4), draw(1, 5, 4))


def test_regions_that_do_not_count():
    query, key = draw(6, 4).requires_grad_(), draw(6, 4)
    counted = torch.tensor([True, False, True, True, False, False])
    loss, found = RegionConsistency()(query, key, counted)
    torch.testing.assert_close(loss, L.region_distances(query[counted], key[counted]).mean())
    torch.testing.assert_close(found['pos_sim'], 1 - loss.detach() / 2)
    loss.backward()
    assert (query.grad[~counted] == 0).all() and (query.grad[counted] != 0).any()


def test_no_region_at_all():
    query = draw(6, 4).requires_grad_()
    loss, found = RegionConsistency()(query, draw(6, 4), torch.zeros(6, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0 and found['pos_sim'].item() == 0
    assert (query.grad == 0).all()
