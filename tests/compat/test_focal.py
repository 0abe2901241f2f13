"""Focal losses against their definition in float64, with gradients."""

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip('mmcv')

from mmcv.ops import sigmoid_focal_loss, softmax_focal_loss
from torchvision.ops import sigmoid_focal_loss as torchvision_focal_loss

DEVICES = ['cpu', pytest.param('cuda', marks=pytest.mark.gpu)]
GAMMA, ALPHA = 2.0, 0.25


def inputs(device='cpu', dtype=torch.float64, classes=4):
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(9, classes, generator=generator, dtype=torch.float64)
    target = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3, 3])
    weight = torch.rand(classes, generator=generator, dtype=torch.float64) + 0.5
    return logits.to(device, dtype), target.to(device), weight.to(device, dtype)


@pytest.mark.parametrize('device', DEVICES)
def test_sigmoid_focal_loss(device):
    logits, target, _ = inputs(device)
    target[0] = 4  # background: no class is positive
    result = sigmoid_focal_loss(logits, target, GAMMA, ALPHA, None, 'none')
    one_hot = F.one_hot(target, 5)[:, :4].double()
    expected = torchvision_focal_loss(logits, one_hot, ALPHA, GAMMA)
    torch.testing.assert_close(result, expected, rtol=1e-9, atol=1e-12)
    mean = sigmoid_focal_loss(logits, target, GAMMA, ALPHA, None, 'mean')
    torch.testing.assert_close(mean, expected.sum() / len(logits))


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('gamma', [0.5, 2.0])
def test_sigmoid_focal_loss_gradient(device, gamma):
    logits, target, weight = inputs(device)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: sigmoid_focal_loss(x, target, gamma, ALPHA, weight, 'sum'), [logits]
    )


def test_sigmoid_focal_loss_weighs_by_target_class():
    logits, target, weight = inputs()
    target[0] = 4
    plain = sigmoid_focal_loss(logits, target, GAMMA, ALPHA, None, 'none')
    weighted = sigmoid_focal_loss(logits, target, GAMMA, ALPHA, weight, 'none')
    factor = torch.cat([weight, weight.new_ones(1)])[target][:, None]
    torch.testing.assert_close(weighted, plain * factor)


def test_sigmoid_focal_loss_of_extreme_logits_is_finite():
    logits = torch.tensor([[200.0, -200.0]], requires_grad=True)
    loss = sigmoid_focal_loss(logits, torch.tensor([1]), GAMMA, ALPHA, None, 'sum')
    loss.backward()
    # Both logits are utterly wrong: -log p = 200 each.
    torch.testing.assert_close(loss, torch.tensor(200 * (ALPHA + 1 - ALPHA)))
    torch.testing.assert_close(logits.grad, torch.tensor([[1 - ALPHA, -ALPHA]]))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_sigmoid_focal_loss_in_half_precision(dtype):
    logits, target, _ = inputs(dtype=dtype)
    result = sigmoid_focal_loss(logits, target, GAMMA, ALPHA, None, 'none')
    exact = sigmoid_focal_loss(logits.double(), target, GAMMA, ALPHA, None, 'none')
    assert result.dtype == dtype
    torch.testing.assert_close(result.double(), exact, rtol=0.01, atol=1e-4)


def naive_softmax_focal(logits, target, weight, gamma):
    log_p = F.log_softmax(logits, dim=1).gather(1, target[:, None])[:, 0]
    return -ALPHA * weight[target] * (1 - log_p.exp()) ** gamma * log_p


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('gamma', [0.5, 2.0])
def test_softmax_focal_loss(device, gamma):
    logits, target, weight = inputs(device)
    logits.requires_grad_()
    loss = softmax_focal_loss(logits, target, gamma, ALPHA, weight, 'sum')
    expected = naive_softmax_focal(logits, target, weight, gamma).sum()
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-12)
    gradient = torch.autograd.grad(loss, logits)[0]
    torch.testing.assert_close(
        gradient, torch.autograd.grad(expected, logits)[0], rtol=1e-7, atol=1e-10
    )


def test_softmax_focal_loss_ignores_negative_targets():
    logits, target, weight = inputs()
    logits.requires_grad_()
    ignored = torch.where(target == 1, torch.tensor(-1), target)
    loss = softmax_focal_loss(logits, ignored, GAMMA, ALPHA, weight, 'sum')
    loss.backward()
    kept = target != 1
    expected = naive_softmax_focal(logits[kept], target[kept], weight, GAMMA).sum()
    torch.testing.assert_close(loss, expected)
    assert not logits.grad[~kept].any()
