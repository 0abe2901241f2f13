"""Fused and low-bit optimisers step as the plain ones do."""

import sys
from importlib.util import find_spec

import pytest
import torch
from mmengine.config import Config

from densecl.engine import launch
from densecl.registry import OPTIMIZERS


def config(**optimizer):
    return Config(dict(optim_wrapper=dict(type='OptimWrapper', optimizer=optimizer)))


def weights_after(optimizer: dict, steps: int = 5):
    """Two parameters, and the optimiser, after some steps on random gradients."""
    generator = torch.Generator().manual_seed(0)
    params = [torch.nn.Parameter(torch.randn(*s, generator=generator)) for s in ((64, 128), (64,))]
    optimizer = OPTIMIZERS.build(dict(optimizer, params=params))
    for _ in range(steps):
        for p in params:
            p.grad = torch.randn(p.shape, generator=generator)
        optimizer.step()
    return params, optimizer


@pytest.mark.parametrize('kind', ['SGD', 'Adam', 'AdamW'])
def test_on_a_gpu_torch_s_optimisers_are_fused(monkeypatch, kind):
    cfg = config(type=kind, lr=0.1, weight_decay=0.01)
    with monkeypatch.context() as patched:
        patched.setattr(torch.cuda, 'is_available', lambda: True)
        launch.use_fused(cfg)
    assert cfg.optim_wrapper.optimizer.fused is True
    got, optimizer = weights_after(cfg.optim_wrapper.optimizer)
    assert optimizer.defaults['fused']
    want, _ = weights_after(dict(cfg.optim_wrapper.optimizer, fused=False))
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('kind, fused', [('SGD', None), ('AdamW', True)])
def test_spread_parameters_have_no_fused_sgd(monkeypatch, kind, fused):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    cfg = config(type=kind, lr=0.1)
    cfg.model_wrapper_cfg = dict(type='FullyShard')
    launch.use_fused(cfg)
    assert cfg.optim_wrapper.optimizer.get('fused') is fused


def test_what_the_config_says_stays(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    for optimizer in (
        dict(type='SGD', lr=0.1, fused=False),
        dict(type='LARS', lr=0.1),
        dict(type='SGD', foreach=True),
    ):
        cfg = config(**optimizer)
        launch.use_fused(cfg)
        assert cfg.optim_wrapper.optimizer == optimizer
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    cfg = config(type='SGD', lr=0.1)
    launch.use_fused(cfg)
    assert 'fused' not in cfg.optim_wrapper.optimizer
    launch.use_fused(Config(dict()))  # a config for testing alone


def test_low_bits_without_torchao_are_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, 'torchao', None)
    with pytest.raises(ImportError, match='optimizer.type=TorchAO needs torchao: pip install torchao'):
        weights_after(dict(type='TorchAO', lr=0.1))
    with pytest.raises(ValueError, match="kind of TorchAO must be .*'AdamW8bit'.*, got 'AdamW2bit'"):
        weights_after(dict(type='TorchAO', lr=0.1, kind='AdamW2bit'))


@pytest.mark.skipif(find_spec('torchao') is None, reason='torchao is not installed')
def test_eight_bits_step_nearly_as_thirty_two():
    got, optimizer = weights_after(dict(type='TorchAO', lr=0.01, weight_decay=0.0), steps=1)
    want, _ = weights_after(dict(type='AdamW', lr=0.01, weight_decay=0.0), steps=1)
    torch.testing.assert_close(got, want, rtol=0, atol=2e-3)
    state = optimizer.state[got[0]]['exp_avg']
    assert state.codes.dtype == torch.uint8
