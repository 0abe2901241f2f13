"""Batch norm over active positions against torch's own layer on these positions alone."""

import copy

import pytest
import torch
from torch import nn

from densecl.models.active import active_like, only_active
from densecl.models.pretrainers.batch_statistics import group_batch_norm

DOUBLE = dict(dtype=torch.float64)


def alone(layer: nn.Module, x: torch.Tensor, active: torch.Tensor) -> torch.Tensor:
    """What a BatchNorm1d makes of the active positions as rows, 0 elsewhere."""
    rows = x.movedim(1, -1)
    return torch.zeros_like(rows).masked_scatter(active[..., None], layer(rows[active])).movedim(-1, 1)


def everything(layer: nn.Module, x: torch.Tensor, active: torch.Tensor, forward) -> list:
    """Outputs, gradients and statistics of two passes."""
    outputs, leaf = [], x.clone().requires_grad_()
    for factor in (1.0, 2.0):
        outputs.append(forward(layer, leaf * factor + factor, active))
    scales = torch.linspace(0.5, 2, x.shape[1], dtype=x.dtype).view(-1, *[1] * (x.ndim - 2))
    loss = sum((y * scales).sin().square().sum() for y in outputs)
    return [outputs, torch.autograd.grad(loss, [leaf, *layer.parameters()]), layer.state_dict()]


def masked(layer, x, active):
    with only_active(layer, active):
        return layer(x)


@pytest.mark.parametrize(
    'options',
    [dict(), dict(affine=False), dict(momentum=None), dict(track_running_stats=False), dict(eps=0.1)],
)
@pytest.mark.parametrize('kind', [nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm])
@pytest.mark.parametrize('training', [True, False])
def test_as_the_positions_alone(kind, options, training):
    shape = (9, 5) if kind is nn.BatchNorm1d else (9, 5, 3, 4)
    x = torch.randn(shape, **DOUBLE) * 3 + 7
    active = torch.rand(shape[:1] + shape[2:]) < 0.5
    active[:4], active[4] = active[:1] | (torch.arange(4).view(-1, *[1] * (len(shape) - 2)) > 1), False
    x.movedim(1, -1)[~active] *= 1e6  # what does not count may be anything
    mine = kind(5, **options).double().train(training)
    if mine.affine:
        nn.init.uniform_(mine.weight)
        nn.init.uniform_(mine.bias)
    theirs = nn.BatchNorm1d(5, **options).double().train(training)
    theirs.load_state_dict(mine.state_dict())
    got, want = everything(mine, x, active, masked), everything(theirs, x, active, alone)
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-10)
    positions = active.unsqueeze(1).expand(shape)
    assert not got[0][0][~positions].any() and not got[1][0][~positions].any()
    assert got[1][0][positions].abs().max() > 1e-4


def test_gradient_goes_through_the_statistics():
    layer = nn.BatchNorm1d(3).double()
    active = torch.tensor([True, False, True, True, False])
    leaves = [torch.randn(5, 3, **DOUBLE), *(torch.rand(3, **DOUBLE) + 0.5 for _ in range(2))]

    def run(x, weight, bias):
        with only_active(layer, active):
            return torch.func.functional_call(layer, dict(weight=weight, bias=bias), x)

    assert torch.autograd.gradcheck(run, [x.requires_grad_() for x in leaves])


def test_nothing_of_the_other_positions_spreads():
    layer, x = nn.BatchNorm1d(2), torch.randn(4, 2)
    x[1] = float('nan')
    x[2] = float('inf')
    y = masked(layer, x.requires_grad_(), torch.tensor([True, False, False, True]))
    y.square().sum().backward()
    found = y, x.grad, layer.weight.grad, layer.bias.grad, layer.running_mean, layer.running_var
    assert all(each.isfinite().all() for each in found)


@pytest.mark.parametrize('count', [0, 1])
def test_too_few_for_statistics(count):
    """torch's layer raises. Here one position is its own mean, and running statistics stay."""
    layer = nn.BatchNorm1d(3, momentum=None)
    nn.init.uniform_(layer.bias)
    before = copy.deepcopy(layer.state_dict())
    active = torch.arange(4) < count
    x = torch.randn(4, 3, requires_grad=True)
    y = masked(layer, x, active)
    torch.testing.assert_close(y, active[:, None] * layer.bias)
    y.sum().backward()
    assert not x.grad.any() and torch.equal(layer.bias.grad, torch.full((3,), float(count)))
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())
    masked(layer, x, torch.ones(4, dtype=torch.bool))
    torch.testing.assert_close(layer.running_mean, x.detach().mean(0))  # the first batch that counts


def test_one_mask_for_all_levels():
    """A strided convolution between two norms; each sees the cells of the same mask."""
    net = nn.Sequential(
        nn.BatchNorm2d(3), nn.Conv2d(3, 4, 2, stride=2, bias=False), nn.BatchNorm2d(4)
    ).double()
    x, active = torch.randn(2, 3, 8, 12, **DOUBLE), torch.rand(2, 2, 3) < 0.5
    fine = torch.kron(active, torch.ones(1, 4, 4)).bool()
    assert torch.equal(active_like(active, x)[:, 0], fine)
    first, conv, last = copy.deepcopy(net)
    first, last = (nn.BatchNorm1d(n.num_features).double() for n in (first, last))
    want = alone(last, conv(alone(first, x, fine)), torch.kron(active, torch.ones(1, 2, 2)).bool())
    torch.testing.assert_close(masked(net, x, active), want, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(net[2].running_var, last.running_var)


def test_a_large_mean_does_not_hide_a_small_variance():
    x = torch.randn(4000, 3, **DOUBLE) * 0.05 + 300
    active = torch.rand(4000) < 0.5
    layer = nn.BatchNorm1d(3)
    y = masked(layer, x.float(), active)
    rows = x.float().double()[active]
    want = (rows - rows.mean(0)) / (rows.var(0, correction=0) + layer.eps).sqrt()
    torch.testing.assert_close(y[active].double(), want, rtol=0, atol=2e-3)
    torch.testing.assert_close(layer.running_var.double(), 0.9 + 0.1 * rows.var(0), rtol=1e-6, atol=0)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_has_statistics_in_float32(dtype):
    """As torch's: inputs and outputs of half precision, under autocast, beyond float16's sums of squares."""
    x = (torch.randn(500, 3, **DOUBLE) * 200 + 1000).to(dtype)
    active = torch.rand(500) < 0.5
    layer = nn.BatchNorm1d(3)
    leaf = x.clone().requires_grad_()
    with torch.autocast('cpu', dtype=dtype):
        y = masked(layer, leaf, active)
    (y.float() ** 3).sum().backward()
    assert y.dtype == leaf.grad.dtype == dtype and layer.weight.grad.dtype == torch.float32
    exact, other = nn.BatchNorm1d(3).double(), x.double().requires_grad_()
    want = alone(exact, other, active)
    (want.to(dtype).double() ** 3).sum().backward()
    close = dict(rtol=torch.finfo(dtype).eps * 4, check_dtype=False)
    torch.testing.assert_close(y, want, atol=1e-6, **close)
    torch.testing.assert_close(leaf.grad, other.grad, atol=1e-3, **close)
    torch.testing.assert_close(layer.running_var, exact.running_var, rtol=1e-6, atol=0, check_dtype=False)


def test_a_layer_is_itself_again_whatever_happens():
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    names, x = list(net.state_dict()), torch.randn(4, 3)
    want = copy.deepcopy(net)(x)
    with pytest.raises(RuntimeError, match='stop'), only_active(net, torch.ones(4, dtype=torch.bool)):
        assert list(net.state_dict()) == names
        raise RuntimeError('stop')
    assert 'forward' not in vars(net[1]) and torch.equal(net(x), want)


def test_mistakes_are_named():
    x, layer = torch.randn(2, 3, 4, 6), nn.BatchNorm2d(3)
    for shape in ((2,), (3, 4, 6), (2, 3, 6), (2, 4, 4)):
        with pytest.raises(ValueError, match='does not fit an input of shape'):
            masked(layer, x, torch.ones(shape, dtype=torch.bool))
    grouped = group_batch_norm(nn.Sequential(nn.BatchNorm2d(3)), 2)
    with pytest.raises(ValueError, match='GroupedBatchNorm2d takes its statistics in its own way'):
        masked(grouped, x, torch.ones(2, 4, 6, dtype=torch.bool))
