"""Tiled log-sum-exps, hardest keys and functions of tiles, against dense float64 forms."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from densecl.models.losses import kernel

TILES = [None, 1, 3, 100]


def inputs(n=7, k=11, c=5, scale=3.0, dtype=torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    draw = [torch.randn(size, c, generator=generator, dtype=torch.float64) for size in (n, k)]
    return (scale * draw[0]).to(dtype).requires_grad_(), draw[1].to(dtype).requires_grad_()


def keep(columns: slice, logits: Tensor) -> Tensor:
    """Not the same index, not the hardest, and nothing for the third row."""
    rows = torch.arange(len(logits))[:, None]
    return (rows != torch.arange(columns.start, columns.stop)) & (logits < 5) & (rows != 2)


def dense_logits(query: Tensor, keys: Tensor, rule) -> Tensor:
    logits = query.double() @ keys.double().T
    return logits if rule is None else logits.masked_fill(~rule(slice(0, len(keys)), logits), -torch.inf)


def assert_same_gradients(got: Tensor, want: Tensor, wanted: list[Tensor], **tolerance) -> None:
    """Gradients of the sum of got and want, weighted differently in each row."""
    weights = torch.linspace(-1, 2, len(got), dtype=torch.float64)
    mine = torch.autograd.grad((torch.tanh(got) * weights).sum(), wanted, retain_graph=True)
    theirs = torch.autograd.grad((torch.tanh(want) * weights).sum(), wanted, retain_graph=True)
    for a, b in zip(mine, theirs, strict=True):
        assert torch.isfinite(a).all()
        torch.testing.assert_close(a, b, **tolerance)


EXACT = dict(rtol=1e-12, atol=1e-12)


@pytest.fixture
def small_tiles(monkeypatch):
    """Several rows and columns of tiles, none of them a divisor."""
    monkeypatch.setitem(kernel.TILE, 'cpu', 12)
    monkeypatch.setitem(kernel.ROWS, 'cpu', 3)


@pytest.mark.parametrize('tile', TILES)
@pytest.mark.parametrize('rule', [None, keep])
def test_value_maximum_and_gradients_equal_the_dense_form(rule, tile):
    query, keys = inputs()
    lse, top = kernel.similarity_logsumexp(query, keys, rule, tile)
    logits = dense_logits(query, keys, rule)
    torch.testing.assert_close(lse, logits.logsumexp(1), **EXACT)
    torch.testing.assert_close(top, logits.amax(1), **EXACT)
    assert not top.requires_grad
    assert_same_gradients(lse, logits.logsumexp(1), [query, keys], **EXACT)


@pytest.mark.parametrize('rule', [None, keep])
def test_tiles_of_rows_and_columns(small_tiles, rule):
    query, keys = inputs()
    lse, _ = kernel.similarity_logsumexp(query, keys, rule)
    logits = dense_logits(query, keys, rule)
    torch.testing.assert_close(lse, logits.logsumexp(1), **EXACT)
    assert_same_gradients(lse, logits.logsumexp(1), [query, keys], **EXACT)


def largest_tile(rows: int, count: int, rule) -> tuple[int, int]:
    """The shape of the first tile, none is larger, on a CUDA device that fake tensors play."""
    with FakeTensorMode():
        query, keys = torch.empty(rows, 8, device='cuda'), torch.empty(count, 8, device='cuda')
        _, _, logits = next(kernel.logit_tiles(query, keys, rule, None))
    return tuple(logits.shape)


@pytest.fixture
def device_memory(monkeypatch):
    """``device_memory(free)``: a CUDA device says that it has so many bytes free."""

    def says(free: int) -> None:
        kernel.most_entries.cache_clear()
        monkeypatch.setattr(kernel, 'free_bytes', lambda device: free)

    yield says
    kernel.most_entries.cache_clear()


@pytest.mark.parametrize('rule', [None, lambda _, logits: logits > 0])
def test_tiles_fit_in_free_memory(rule, device_memory):
    shape = 131_072, 65_536  # SlotCon: 2,048 slots of 64 images; as many keys as a queue has
    largest = {}
    for gib in (1, 8, 40):
        device_memory(gib * 2**30)
        largest[gib] = math.prod(largest_tile(*shape, rule))
        assert 16 * largest[gib] <= gib * 2**30 / 32
    assert largest[1] < largest[8] <= largest[40]
    device_memory(int(39.3 * 2**30))  # a little less: the same tiles
    assert math.prod(largest_tile(*shape, rule)) == largest[40]


def test_memory_is_measured_once(device_memory):
    device_memory(2**30)
    before = largest_tile(65_536, 65_536, None)
    kernel.free_bytes = None  # asking again would raise
    assert largest_tile(65_536, 65_536, None) == before


def test_free_memory_is_that_of_driver_and_allocator(monkeypatch):
    assert kernel.free_bytes(torch.device('cuda')) == kernel.PLAYED_FREE or torch.cuda.is_available()
    says = dict(mem_get_info=(700, 1000), memory_reserved=250, memory_allocated=200, is_available=True)
    for name, value in says.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
    assert kernel.free_bytes(torch.device('cuda')) == 750


def test_a_large_device_does_not_change_small_tiles(device_memory):
    device_memory(70 * 2**30)
    assert largest_tile(1568, 65_536, None) == (1568, 2048)  # DenseCL: 49 cells of 32 images


@pytest.mark.parametrize('entries', [2**3, 2**5, 2**20])
@pytest.mark.parametrize('rule', [None, keep])
def test_values_do_not_depend_on_memory(rule, entries, monkeypatch):
    monkeypatch.setitem(kernel.TILE, 'cpu', entries)
    query, keys = inputs()
    lse, top = kernel.similarity_logsumexp(query, keys, rule)
    logits = dense_logits(query, keys, rule)
    torch.testing.assert_close(lse, logits.logsumexp(1), **EXACT)
    torch.testing.assert_close(top, logits.amax(1), **EXACT)
    assert_same_gradients(lse, logits.logsumexp(1), [query, keys], **EXACT)


def test_default_tiles_cover_a_matrix_larger_than_one():
    query, keys = inputs(1100, 1500, 8)
    for rule in (None, keep):
        with torch.no_grad():
            assert len(list(kernel.logit_tiles(query, keys, rule, None))) > 1
        lse, _ = kernel.similarity_logsumexp(query, keys, rule)
        want = dense_logits(query, keys, rule).logsumexp(1)
        torch.testing.assert_close(lse, want, **EXACT)
        assert_same_gradients(lse, want, [query, keys], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize('needs', [(True, False), (False, True)])
def test_gradient_for_one_side_only(needs):
    query, keys = (x.detach().requires_grad_(need) for x, need in zip(inputs(), needs, strict=True))
    wanted = [x for x in (query, keys) if x.requires_grad]
    lse, _ = kernel.similarity_logsumexp(query, keys, keep)
    assert_same_gradients(lse, dense_logits(query, keys, keep).logsumexp(1), wanted, **EXACT)


def test_gradcheck():
    query, keys = inputs(4, 5, 3, scale=1.0)

    def not_itself(columns, logits):
        return torch.arange(len(logits))[:, None] != torch.arange(columns.start, columns.stop)

    for rule in (None, not_itself):
        assert torch.autograd.gradcheck(
            lambda q, k, rule=rule: kernel.similarity_logsumexp(q, k, rule, tile=2)[0], (query, keys)
        )


def test_a_row_without_pairs_is_silent_in_the_loss_too():
    query, keys = inputs()
    positive = torch.zeros(len(query), dtype=torch.float64, requires_grad=True)
    lse, top = kernel.similarity_logsumexp(query, keys, keep)
    terms = F.softplus(lse - positive)
    assert lse[2] == top[2] == -torch.inf
    assert torch.isfinite(lse[[0, 1, 3]]).all()
    assert terms[2] == 0
    terms.sum().backward()
    assert (query.grad[2] == 0).all()
    assert positive.grad[2] == 0
    for x in (query, keys, positive):
        assert torch.isfinite(x.grad).all()


def test_no_keys_at_all():
    query, keys = inputs(k=0)
    lse, top = kernel.similarity_logsumexp(query, keys)
    F.softplus(lse).sum().backward()
    assert (lse == -torch.inf).all()
    assert (top == -torch.inf).all()
    assert (query.grad == 0).all()
    assert keys.grad.shape == (0, 5)


def test_huge_logits_neither_overflow_nor_underflow():
    query, keys = inputs(scale=1e4, dtype=torch.float32)
    lse, _ = kernel.similarity_logsumexp(query, keys, tile=2)
    want = dense_logits(query, keys, None).logsumexp(1)
    torch.testing.assert_close(lse.double(), want, rtol=1e-6, atol=0)
    lse.sum().backward()
    assert torch.isfinite(query.grad).all()


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_is_exact_to_float32_rounding(dtype):
    query, keys = inputs(40, 60, dtype=dtype)
    lse, _ = kernel.similarity_logsumexp(query, keys, tile=7)
    assert lse.dtype == torch.float32
    double = [x.detach().double().requires_grad_() for x in (query, keys)]
    want = dense_logits(*double, None).logsumexp(1)
    torch.testing.assert_close(lse.double(), want, rtol=1e-6, atol=1e-6)
    lse.sum().backward()
    want.sum().backward()
    for half, exact in zip((query, keys), double, strict=True):
        assert half.grad.dtype == dtype
        torch.testing.assert_close(half.grad, exact.grad.to(dtype), rtol=1e-2, atol=1e-6)


def test_autocast_does_not_reach_the_products():
    query, keys = inputs(dtype=torch.float32)
    outside, _ = kernel.similarity_logsumexp(query, keys)
    want = torch.autograd.grad(outside.sum(), (query, keys))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        inside, _ = kernel.similarity_logsumexp(query, keys)
        got = torch.autograd.grad(inside.sum(), (query, keys))
    for a, b in zip((inside, *got), (outside, *want), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_keys_without_gradient_may_be_overwritten_before_backward():
    query, keys = inputs()
    keys = keys.detach()
    lse, _ = kernel.similarity_logsumexp(query, keys, keep, tile=3)
    want = torch.autograd.grad(lse[[0, 1, 3]].sum(), query, retain_graph=True)[0]
    keys.zero_()
    got = torch.autograd.grad(lse[[0, 1, 3]].sum(), query)[0]
    torch.testing.assert_close(got, want, rtol=0, atol=0)


@pytest.mark.parametrize('tile', TILES)
@pytest.mark.parametrize('rule', [None, keep])
def test_hardest_keys(rule, tile):
    query, keys = inputs()
    values, indices = kernel.hardest_keys(query, keys, 4, rule, tile)
    logits = dense_logits(query, keys, rule)
    torch.testing.assert_close(values, logits.topk(4, dim=1).values.detach(), **EXACT)
    counted = values.isfinite()
    assert torch.equal(logits.gather(1, indices)[counted].isfinite(), counted[counted])
    torch.testing.assert_close(logits.gather(1, indices)[counted], values[counted], **EXACT)
    assert not values.requires_grad


def test_more_hardest_keys_than_keys_are_refused():
    with pytest.raises(ValueError, match='k = 12, but there are only 11 keys'):
        kernel.hardest_keys(*inputs(), 12)


@pytest.mark.parametrize('tile', TILES)
def test_row_sum_of_a_function_of_each_pair(tile):
    query, keys = inputs()
    margin = torch.linspace(0, 1, len(query), dtype=torch.float64, requires_grad=True)

    def hinge(query, block, columns, margin):
        weight = torch.arange(columns.start, columns.stop, dtype=query.dtype)
        return (F.softplus(query @ block.T - margin[:, None]) * weight).sum(1)

    got = kernel.tiled_row_sum(hinge, query, keys, margin, tile=tile)
    want = hinge(query, keys, slice(0, len(keys)), margin)
    torch.testing.assert_close(got, want, **EXACT)
    assert_same_gradients(got, want, [query, keys, margin], **EXACT)


@pytest.mark.parametrize('tile', TILES)
def test_logsumexp_of_a_function_of_each_pair(tile):
    query, keys = inputs()
    scale = torch.linspace(1, 2, len(query), dtype=torch.float64, requires_grad=True)

    def cubes(query, block, columns, scale):
        logits = query @ block.T
        kept = keep(columns, logits.detach())
        return (scale[:, None] * logits.tanh() ** 3).masked_fill(~kept, -torch.inf)

    got = kernel.tiled_logsumexp(cubes, query, keys, scale, tile=tile)
    want = cubes(query, keys, slice(0, len(keys)), scale).logsumexp(1)
    assert got[2] == -torch.inf
    torch.testing.assert_close(got, want, **EXACT)
    rows = [0, 1, 3, 4, 5, 6]
    assert_same_gradients(got[rows], want[rows], [query, keys, scale], **EXACT)
    F.softplus(got).sum().backward()
    assert (query.grad[2] == 0).all()


def test_functions_of_tiles_without_keys():
    query, keys = inputs(k=0)
    assert (kernel.tiled_row_sum(lambda q, b, _: (q @ b.T).sum(1), query, keys) == 0).all()
    assert (kernel.tiled_logsumexp(lambda q, b, _: q @ b.T, query, keys) == -torch.inf).all()


def test_tiles_of_functions_are_computed_again_rather_than_kept():
    query, keys = inputs()
    shapes = []

    def remember(tensor):
        shapes.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(remember, lambda x: x):
        kernel.tiled_row_sum(lambda q, b, _: (q @ b.T).exp().sum(1), query, keys, tile=3)
        kernel.tiled_logsumexp(lambda q, b, _: (q @ b.T).exp(), query, keys, tile=3)
        kernel.similarity_logsumexp(query, keys, tile=3)
    assert shapes
    assert not {(7, 3), (7, 2), (7, 11)} & set(shapes)
