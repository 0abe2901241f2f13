"""Unit vectors, and the gradient of short ones."""

import pytest
import torch

from densecl.numerics import SHORTEST, cosines, full_precision, no_autocast, unit


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize('value', [0, 1e-20, 1e-8])
def test_the_gradient_of_a_short_vector_is_bounded(value, dtype):
    x = torch.full((2, 3), value, dtype=dtype)
    x[1] = torch.tensor([1.0, 2, 2])
    x.requires_grad_()
    unit(x)[:, 0].sum().backward()
    assert x.grad.isfinite().all() and x.grad.abs().max() <= 1 / SHORTEST
    assert torch.equal(x.grad[0], torch.zeros(3, dtype=dtype))
    # (1 - 1/9) / 3, -2/27, -2/27: a long vector in the same batch keeps its gradient
    want = torch.tensor([8 / 27, -2 / 27, -2 / 27], dtype=dtype)
    torch.testing.assert_close(x.grad[1], want)


def test_the_largest_gradient_is_that_of_the_shortest_vector_that_has_one():
    x = torch.tensor([[SHORTEST, 0.0]], dtype=torch.float64).requires_grad_()
    unit(x)[0, 1].backward()
    torch.testing.assert_close(x.grad, torch.tensor([[0, 1 / SHORTEST]], dtype=torch.float64))


@pytest.mark.parametrize('dim', [0, 1, -1])
def test_length_one_in_full_precision_and_zero_stays_zero(dim):
    x = torch.randn(4, 5, dtype=torch.bfloat16)
    x.select(1 - dim % 2, 0).zero_()
    found = unit(x, dim=dim)
    assert found.dtype == torch.float32
    lengths = torch.linalg.vector_norm(found.double(), dim=dim)
    assert lengths[0] == 0
    torch.testing.assert_close(lengths[1:], torch.ones_like(lengths[1:]), rtol=0, atol=1e-6)
    # The direction of the short ones is kept where float32 can say it.
    torch.testing.assert_close(unit(torch.tensor([3e-8, 4e-8])), torch.tensor([0.6, 0.8]))


def test_half_precision_becomes_float32_and_the_rest_stays():
    for given, wanted in (
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ):
        assert full_precision(torch.ones(1, dtype=given)).dtype == wanted


def test_a_product_outside_autocast_is_not_rounded():
    x = torch.randn(8, 8)
    product = no_autocast(lambda x: x @ x)
    with torch.autocast('cpu', torch.bfloat16):
        assert (x @ x).dtype == torch.bfloat16
        assert torch.equal(product(x), product(x=x)) and product(x).dtype == torch.float32
        assert torch.equal(no_autocast(lambda xs: xs[0] @ xs[0])([x]), product(x))
    assert torch.equal(product(x), x @ x)


def test_cosines_of_all_pairs():
    x, y = torch.randn(2, 3, 5), torch.randn(2, 4, 5)
    x[0, 1] = 0
    found = cosines(x.half(), y)
    assert found.shape == (2, 3, 4) and found.dtype == torch.float32 and not found[0, 1].any()
    wanted = torch.nn.functional.cosine_similarity(x.half().float()[:, :, None], y[:, None], dim=-1)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(cosines(y).diagonal(dim1=1, dim2=2), torch.ones(2, 4))
