"""CLIP's attention pool against one query written out in float64, and the values of single cells."""

import pytest
import torch

from densecl.models.backbones.timm import resize_positions
from densecl.models.necks import AttentionPool2d
from tests.oracles.pooling import attention_pool

CHANNELS, OUT, HEADS, GRID = 12, 5, 3, (2, 3)


@pytest.fixture
def pool():
    torch.manual_seed(0)
    return AttentionPool2d((CHANNELS, OUT), grid=GRID, heads=HEADS).double()


def maps(height=2, width=3, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, CHANNELS, height, width, generator=generator, dtype=dtype)


def test_the_mean_asks_the_cells_and_itself(pool):
    given = maps()
    want = torch.stack([attention_pool(level, pool.state_dict(), HEADS) for level in given])
    torch.testing.assert_close(pool(given), want, rtol=0, atol=1e-12)


def test_gradients(pool):
    given = maps()[:2].requires_grad_()
    assert torch.autograd.gradcheck(pool, given)
    assert torch.autograd.gradcheck(pool.values, given)
    names = dict(pool.named_parameters())

    def of_parameters(*tensors):
        return torch.func.functional_call(pool, dict(zip(names, tensors, strict=True)), given.detach())

    assert torch.autograd.gradcheck(of_parameters, tuple(names.values()))


def test_positions_of_another_size_are_resized(pool):
    given, tensors = maps(5, 4), dict(pool.state_dict())
    tensors['positional_embedding'] = resize_positions(pool.positional_embedding[None], GRID, (5, 4))[0]
    want = torch.stack([attention_pool(level, tensors, HEADS) for level in given])
    torch.testing.assert_close(pool(given), want, rtol=0, atol=1e-12)


def test_a_value_is_the_pool_of_one_cell_without_place(pool):
    """Whatever the shares are: all that there is to mix is this cell, once as itself and once as the mean."""
    given = maps()
    found = pool.values(given)
    assert found.shape == (4, OUT, 2, 3)
    with torch.no_grad():
        pool.positional_embedding.zero_()
    for y, x in ((0, 0), (1, 2)):
        cell = given[:, :, y : y + 1, x : x + 1]
        torch.testing.assert_close(found[:, :, y, x], pool(cell), rtol=0, atol=1e-12)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_is_near(pool, dtype):
    pool, given = pool.float(), maps(dtype=torch.float32).requires_grad_()
    want = pool(given)
    with torch.autocast('cpu', dtype):
        found = pool(given)
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), want, rtol=0.05, atol=0.05)
    found.float().sum().backward()
    assert given.grad.isfinite().all() and given.grad.abs().sum() > 0


def test_initial_values_are_clip_s():
    torch.manual_seed(0)
    pool = AttentionPool2d((256, 128), grid=7)
    assert pool.heads == 4 and pool.positional_embedding.shape == (50, 256)
    drawn = [getattr(pool, f'{name}_proj').weight for name in 'qkvc'] + [pool.positional_embedding]
    assert [round(float(x.detach().std()) * 16, 1) for x in drawn] == [1.0] * 5


def test_heads_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match='12 channels are no multiple of 5 heads'):
        AttentionPool2d((12, 4), heads=5)
