"""The norm of the gradients before clipping: measured when asked, without a wait, and logged."""

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.optim.optimizer import amp_optimizer_wrapper

from densecl.engine.optim import BF16OptimWrapper, GradNormAmpOptimWrapper, GradNormOptimWrapper

CLIPS = [None, dict(max_norm=0.5), dict(type='value', clip_value=0.1)]


def params():
    """Gradients of norm 5, 1 and none: sqrt(26) together."""
    big, small, none = (torch.nn.Parameter(torch.zeros(2)) for _ in range(3))
    big.grad = torch.tensor([3.0, -4.0])
    small.grad = torch.tensor([0.6, 0.8])
    return big, small, none


def clipped(clip):
    """What the clipping of torch leaves of them."""
    if clip is None:
        return [3.0, -4.0], [0.6, 0.8]
    if 'clip_value' in clip:
        return [0.1, -0.1], [0.1, 0.1]
    factor = 0.5 / (26**0.5 + 1e-6)
    return [3 * factor, -4 * factor], [0.6 * factor, 0.8 * factor]


@pytest.fixture
def nobody_waits(monkeypatch):
    def refuse(*_):
        raise AssertionError('the host waits for the device')

    for name in ('__float__', '__bool__', 'item', 'tolist', 'cpu'):
        monkeypatch.setattr(torch.Tensor, name, refuse)
    yield
    monkeypatch.undo()


@pytest.mark.parametrize('clip', CLIPS)
@pytest.mark.parametrize('kind', [GradNormOptimWrapper, BF16OptimWrapper])
def test_measured_when_asked_and_without_a_wait(kind, clip, nobody_waits, monkeypatch):
    big, small, none = params()
    wrapper = kind(torch.optim.SGD([big, small, none], lr=1.0), clip_grad=clip and dict(clip))
    wrapper.measure = True
    wrapper.step()
    norm, asked_again = wrapper.grad_norm, wrapper.measure
    wrapper.grad_norm = None
    wrapper.step()
    monkeypatch.undo()
    assert norm.dtype == torch.float32 and float(norm) == pytest.approx(26**0.5, rel=1e-6)
    assert wrapper.grad_norm is None and asked_again is False
    first, second = clipped(clip)
    torch.testing.assert_close(big.grad, torch.tensor(first))
    torch.testing.assert_close(small.grad, torch.tensor(second))


@pytest.mark.parametrize('clip', CLIPS)
@pytest.mark.parametrize('fused', [False, True])
def test_measured_after_unscaling(clip, fused, monkeypatch):
    big, small, _ = params()
    monkeypatch.setattr(amp_optimizer_wrapper, 'is_cuda_available', lambda: True)
    optimizer = torch.optim.SGD([big, small], lr=1.0, fused=fused)
    wrapper = GradNormAmpOptimWrapper(optimizer=optimizer, clip_grad=clip and dict(clip))
    wrapper.loss_scaler = torch.amp.GradScaler('cpu', init_scale=64.0)
    wrapper.loss_scaler.scale(torch.ones(()))
    big.grad *= 64
    small.grad *= 64
    wrapper.measure = True
    wrapper.step()
    assert float(wrapper.grad_norm) == pytest.approx(26**0.5, rel=1e-6)
    torch.testing.assert_close(big.detach(), -torch.tensor(clipped(clip)[0]))


def test_without_the_hook_mmengine_logs_what_it_clips():
    hub = MessageHub.get_instance('without-the-hook')
    wrapper = BF16OptimWrapper(torch.optim.SGD(params(), lr=1.0), clip_grad=dict(max_norm=0.5))
    wrapper.message_hub = hub
    wrapper.step()
    assert hub.get_scalar('train/grad_norm').current() == pytest.approx(26**0.5, rel=1e-6)


@pytest.mark.parametrize('kind', ['OptimWrapper', 'BF16OptimWrapper'])
@pytest.mark.parametrize(
    ('clip', 'counts', 'logged'), [(None, 1, 8), (dict(max_norm=1e-3), 1, 8), (None, 4, 6)]
)
def test_in_a_run(toy_runner, kind, clip, counts, logged):
    """4 epochs of 6 iterations, an interval of 4: the 4th and 6th of each epoch, or the step that follows."""
    runner = toy_runner(
        dict(type='SGD', lr=0.0),
        type=kind,
        clip_grad=clip,
        accumulative_counts=counts,
        default_hooks=dict(
            runtime_info=dict(type='DeferredRuntimeInfoHook', interval=4),
            logger=dict(type='LoggerHook', interval=4),
        ),
        log_processor=dict(type='PretrainLogProcessor'),
    )
    runner.train()
    model = runner.model.double()
    model.zero_grad()
    model(torch.ones(2, 3, dtype=torch.float64))['loss'].backward()
    want = sum(p.grad.square().sum() for p in model.parameters()).sqrt()
    found = runner.message_hub.get_scalar('train/grad_norm')._log_history
    exact = kind == 'OptimWrapper'
    assert found == pytest.approx([float(want)] * len(found), rel=1e-5 if exact else 0.05)
    assert len(found) == logged
