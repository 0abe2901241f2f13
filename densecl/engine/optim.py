"""mmengine's optimizer wrappers with three additions: they log the gradient norm, they skip steps whose
gradients are not finite, and they run in bfloat16."""

from collections.abc import Sequence
from contextlib import contextmanager

import torch
from mmengine.device import get_device
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from torch import Tensor
from torch.optim import Optimizer
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from densecl.distributed import is_spread, local, tensor_norms
from densecl.registry import OPTIM_WRAPPERS

_HALF = {'BF16OptimWrapper': 'bfloat16', 'AmpOptimWrapper': 'float16'}


def autocast_dtype(wrapper: dict) -> torch.dtype | None:
    """Type of the forward passes of a run with this ``optim_wrapper``; None: the type of the weights."""
    half = next((dtype for name, dtype in _HALF.items() if str(wrapper.get('type')).endswith(name)), None)
    dtype = half and (wrapper.get('dtype') or half)
    return getattr(torch, dtype) if isinstance(dtype, str) else dtype


class _GradNorm:
    """Measures the gradients of an optimiser step on request, before they are clipped.

    ``DeferredRuntimeInfoHook`` sets ``measure`` to True to ask for the norm. The next step stores it in
    ``grad_norm``: the Euclidean norm over all parameters, without a loss scale, a scalar on their device.
    ``measure`` is None without this hook. Then mmengine logs the norm that it clips, and waits for it in
    every step.

    ``FiniteStepHook`` sets ``guarded``. Then every step is measured, and a step with gradients that are not
    finite changes nothing. ``finite`` says whether the last step was made; ``norms`` are the norms of the
    parameters in ``measured``.
    """

    measure: bool | None = None
    guarded: bool = False
    grad_norm: Tensor | None = None
    norms: Tensor | None = None
    measured: Sequence[torch.nn.Parameter] = ()
    finite: Tensor | None = None

    def backward(self, loss: Tensor, **kwargs) -> None:
        """As mmengine's; but a loss that is not finite makes all gradients so, which every process sees."""
        if self.guarded:
            loss = loss * torch.where(loss.detach().isfinite(), 1.0, torch.nan)
        super().backward(loss, **kwargs)

    def step(self, **kwargs) -> None:
        """Measure the gradients, clip them, and step."""
        if self.measure is None and not self.guarded:
            super().step(**kwargs)
            return
        scaler, params = getattr(self, 'loss_scaler', None), self._with_gradient()
        measures = self.measure or self.guarded
        if scaler is not None and (measures or self.clip_grad_kwargs):
            scaler.unscale_(self.optimizer)
        if measures:
            self._measure(params)
        if self.clip_grad_kwargs and params:
            self.clip_func(params, **self.clip_grad_kwargs)
        if scaler is not None:  # the scaler steps only if all gradients are finite
            if self.guarded:
                self.finite = sum(scaler._found_inf_per_device(self.optimizer).values()) == 0
            if self.guarded and not getattr(self.optimizer, '_step_supports_amp_scaling', False):
                step_where(self.finite, self.optimizer)  # scaler.step() waits for the device
            else:
                scaler.step(self.optimizer, **kwargs)
            scaler.update(self._scale_update_param)
        elif self.guarded:
            self.finite = self.grad_norm.isfinite()
            step_where(self.finite, self.optimizer)
        else:
            self.optimizer.step(**kwargs)

    def _with_gradient(self) -> list[torch.nn.Parameter]:
        params = [p for group in self.optimizer.param_groups for p in group['params']]
        return [p for p in params if p.grad is not None]

    @torch.no_grad()
    def _measure(self, params: list[torch.nn.Parameter]) -> None:
        self.measure, self.measured = False, params
        parts = [local(p.grad) for p in params] or [torch.zeros(())]
        self.norms = tensor_norms(parts, any(map(is_spread, params)))
        self.grad_norm = torch.linalg.vector_norm(self.norms)


def is_float16(wrapper: OptimWrapper) -> bool:
    """Whether a loss scale is needed. mmengine's wrapper has one with bfloat16 too, which needs none."""
    return hasattr(wrapper, 'loss_scaler') and wrapper.cast_dtype in (None, torch.float16)


def step_where(finite: Tensor, optimizer: Optimizer) -> None:
    """Step if ``finite``, a () bool, is true; otherwise parameters and state stay as they are.

    On a CPU the host can read ``finite``. On a device it does not wait for it: the kernels of fused
    optimisers read it there; other optimisers (LARS) make the step, and a copy of parameters and state is
    restored. Some steps of these others wait: the first one, and every step of optimisers that keep a part
    of their state on the CPU (the step count of torch's RMSprop, or of AdamW that is neither fused nor
    ``capturable``) or in tensors of their own kind (torchao).
    """
    state = _state(optimizer).values()
    if finite.device.type != 'cpu' and getattr(optimizer, '_step_supports_amp_scaling', False):
        step_fused(finite, optimizer)
    elif finite.device.type != 'cpu' and state and all(_is_plain(x, finite.device) for x in state):
        step_and_restore(finite, optimizer)
    elif finite:
        optimizer.step()


def step_fused(finite: Tensor, optimizer: Optimizer) -> None:
    """Step a fused optimiser of torch; its kernels change nothing if ``found_inf`` is 1."""
    for group in optimizer.param_groups:
        if group.get('momentum') and not group.get('dampening', 1):
            # If SGD skips its first step, its momentum is uninitialised memory.
            for p in group['params']:
                if p.grad is not None and optimizer.state[p].get('momentum_buffer') is None:
                    optimizer.state[p]['momentum_buffer'] = torch.zeros_like(p)
    optimizer.found_inf = 1 - finite.float()
    try:
        optimizer.step()
    finally:
        del optimizer.found_inf


@torch.no_grad()
def step_and_restore(finite: Tensor, optimizer: Optimizer) -> None:
    """Step, then restore parameters and state if ``finite`` is false."""
    params = [p for group in optimizer.param_groups for p in group['params'] if p.grad is not None]
    changed = [local(x) for x in (*params, *_state(optimizer).values())]
    before = [x.clone() for x in changed]
    optimizer.step()
    for x, old in zip(changed, before, strict=True):
        x.copy_(torch.where(finite, x, old))


def _is_plain(x: Tensor, device: torch.device) -> bool:
    return (is_spread(x) or not is_traceable_wrapper_subclass(x)) and x.device == device


def _state(optimizer: Optimizer) -> dict[tuple, Tensor]:
    """(parameter, name) -> tensor of an optimiser's state."""
    found = {(p, name): x for p, entry in optimizer.state.items() for name, x in entry.items()}
    return {key: x for key, x in found.items() if isinstance(x, Tensor)}


@OPTIM_WRAPPERS.register_module(name='OptimWrapper')
class GradNormOptimWrapper(_GradNorm, OptimWrapper):
    """``OptimWrapper`` of a pretraining config: mmengine's, but it logs the gradient norm without a wait."""


@OPTIM_WRAPPERS.register_module(name='AmpOptimWrapper')
class GradNormAmpOptimWrapper(_GradNorm, AmpOptimWrapper):
    """``AmpOptimWrapper`` of a pretraining config: mmengine's, with the same gradient norm."""


@OPTIM_WRAPPERS.register_module()
class BF16OptimWrapper(_GradNorm, OptimWrapper):
    """Runs the forward pass in bfloat16 where that is safe, on any device.

    bfloat16 has the range of float32, so no loss scale is needed and no step is skipped because of one.
    mmengine's ``AmpOptimWrapper`` requires a CUDA device and a gradient scaler. The arguments are those of
    ``OptimWrapper``.
    """

    @contextmanager
    def optim_context(self, model: torch.nn.Module):
        """The context of a training step."""
        with super().optim_context(model), torch.autocast(get_device(), dtype=torch.bfloat16):
            yield
