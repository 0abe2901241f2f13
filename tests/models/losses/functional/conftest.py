"""What every family of objectives is checked with."""

import pytest
import torch


@pytest.fixture
def draw():
    """Fixed random float64 tensors: ``draw((4, 3), (5, 3))``."""

    def draw(*shapes, seed=0):
        generator = torch.Generator().manual_seed(seed)
        return [torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes]

    return draw


@pytest.fixture
def agree():
    """Value and gradients equal an independent form's to 1e-9, and the gradient is the value's own."""

    def agree(loss, reference, *inputs):
        mine = [x.detach().clone().requires_grad_() for x in inputs]
        theirs = [x.detach().clone().requires_grad_() for x in inputs]
        got, want = loss(*mine), reference(*theirs)
        assert got.shape == ()
        assert got.dtype == torch.float64
        torch.testing.assert_close(got, want, rtol=0, atol=1e-9)
        got.backward()
        want.backward()
        for x, y in zip(mine, theirs, strict=True):
            got, want = (torch.zeros_like(v) if v.grad is None else v.grad for v in (x, y))
            torch.testing.assert_close(got, want, rtol=0, atol=1e-9)
        assert torch.autograd.gradcheck(loss, mine)

    return agree
