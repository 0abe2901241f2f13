"""Each gradient tensor is clipped by itself, whoever steps the optimiser."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import OptimWrapper

from densecl.engine.hooks import ClipModulesHook, ClipTensorsHook


def params():
    """Gradients of norm 5, 1 and none."""
    big, small, none = (torch.nn.Parameter(torch.zeros(2)) for _ in range(3))
    big.grad = torch.tensor([3.0, -4.0])
    small.grad = torch.tensor([0.6, 0.8])
    return big, small, none


def attach(optimizer, max_norm=3.0):
    hook = ClipTensorsHook(max_norm)
    runner = SimpleNamespace(optim_wrapper=OptimWrapper(optimizer))
    hook.before_train(runner)
    return hook, runner


def test_tensors_are_clipped_one_by_one():
    big, small, none = params()
    optimizer = torch.optim.SGD([dict(params=[big]), dict(params=[small, none])], lr=1.0)
    hook, runner = attach(optimizer)
    runner.optim_wrapper.step()
    # DINO: grad * min(1, 3 / (norm + 1e-6))
    torch.testing.assert_close(big.detach(), -torch.tensor([3.0, -4.0]) * 3 / (5 + 1e-6))
    assert torch.equal(small.detach(), -torch.tensor([0.6, 0.8]))
    hook.after_train(runner)
    big.grad = torch.tensor([3.0, -4.0])
    runner.optim_wrapper.step()
    assert torch.equal(big.grad, torch.tensor([3.0, -4.0]))


def test_no_gradients_at_all():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=1.0)
    attach(optimizer)
    optimizer.step()


@pytest.mark.parametrize('fused', [False, True])
def test_gradients_are_clipped_at_their_true_size_under_a_loss_scale(fused):
    """Gradients arrive 64 times too large; fused optimisers divide only inside their step."""
    big, small, _ = params()
    optimizer = torch.optim.SGD([big, small], lr=1.0, fused=fused)
    attach(optimizer)
    scaler = torch.amp.GradScaler('cpu', init_scale=64.0)
    scaler.scale(torch.ones(()))
    big.grad *= 64
    small.grad *= 64
    scaler.step(optimizer)
    torch.testing.assert_close(big.detach(), -torch.tensor([3.0, -4.0]) * 0.6)
    torch.testing.assert_close(small.detach(), -torch.tensor([0.6, 0.8]))


def test_accumulated_gradients_are_clipped_once():
    weight = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    wrapper = OptimWrapper(optimizer, accumulative_counts=2)
    ClipTensorsHook(3.0).before_train(SimpleNamespace(optim_wrapper=wrapper))
    for target in (torch.tensor([6.0, 0.0]), torch.tensor([0.0, 8.0])):
        wrapper.update_params((weight * target).sum())
    # mean of both: (3, 4), of norm 5; one by one they would give (1.5, 1.5)
    torch.testing.assert_close(weight.detach(), -torch.tensor([3.0, 4.0]) * 0.6)


def test_in_a_run(toy_runner):
    runner = toy_runner(dict(type='SGD', lr=1.0), train_cfg=dict(by_epoch=True, max_epochs=1))
    runner.register_hook(dict(type='ClipTensorsHook', max_norm=1e-3))
    before = [p.detach().clone() for p in runner.model.parameters()]
    runner.train()
    for old, new in zip(before, runner.model.parameters(), strict=True):
        assert 0 < (new - old).norm() <= 6e-3 * (1 + 1e-4)  # six steps of at most 1e-3


def test_max_norm_must_be_positive():
    with pytest.raises(ValueError, match='max_norm must be > 0'):
        ClipTensorsHook(0)


class Parts(torch.nn.Module):
    """A backbone of two parameters and two heads of one."""

    def __init__(self):
        super().__init__()
        self.backbone = torch.nn.ParameterDict({n: torch.nn.Parameter(torch.zeros(2)) for n in 'ab'})
        self.heads = torch.nn.ParameterDict({n: torch.nn.Parameter(torch.zeros(2)) for n in ('big', 'small')})


@pytest.mark.parametrize('scale', [None, 64.0])
def test_each_part_is_clipped_to_its_own_norm(scale):
    model = Parts()
    grads = {'backbone.a': [3.0, 0], 'backbone.b': [0, 4.0], 'heads.big': [0, 30.0], 'heads.small': [1.0, 0]}
    for name, parameter in model.named_parameters():
        parameter.grad = torch.tensor(grads[name]) * (scale or 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    if scale:
        optimizer.grad_scale = torch.tensor(scale)
    hook = ClipModulesHook(3.0)
    hook.before_train(SimpleNamespace(optim_wrapper=OptimWrapper(optimizer), model=model))
    hook.clip(optimizer, (), {})
    for name, parameter in model.named_parameters():
        part = {'backbone.a': 5.0, 'backbone.b': 5.0, 'heads.big': 30.0}.get(name, 1.0)
        want = torch.tensor(grads[name]) * min(1, 3 / part)
        torch.testing.assert_close(parameter.grad / (scale or 1), want, rtol=1e-5, atol=0)
    for parameter in model.parameters():
        parameter.grad = None
    hook.clip(optimizer, (), {})  # nothing to do
