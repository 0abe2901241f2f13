"""mmengine's optimizer wrappers: the norm of the gradients for the log, steps that wait for finite gradients,
and bfloat16."""

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


class _GradNorm:
    """Measures the gradients of an optimiser step, before they are clipped, where it is asked to.

    ``measure`` is set by ``DeferredRuntimeInfoHook``: True until the next step has left ``grad_norm``, the
    Euclidean norm over all parameters, without a loss scale, a scalar on their device. It is None where there
    is no such hook: then mmengine logs the norm that it clips, and waits for it in every step.

    ``guarded`` is set by ``FiniteStepHook``: every step is measured, and changes nothing where its gradients
    are not finite; ``finite`` then says whether the last step counted, ``norms`` are those of ``measured``.
    """

    measure: bool | None = None
    guarded: bool = False
    grad_norm: Tensor | None = None
    norms: Tensor | None = None
    measured: Sequence[torch.nn.Parameter] = ()
    finite: Tensor | None = None

    def backward(self, loss: Tensor, **kwargs) -> None:
        """As mmengine's. A loss that is not finite leaves no finite gradient: so all processes hear of it."""
        if self.guarded:
            loss = loss * torch.where(loss.detach().isfinite(), 1.0, torch.nan)
        super().backward(loss, **kwargs)

    def step(self, **kwargs) -> None:
        """Measure, clip and step."""
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
        if scaler is not None:  # it steps only where all gradients are finite
            if self.guarded:
                self.finite = sum(scaler._found_inf_per_device(self.optimizer).values()) == 0
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
    """Whether a loss scale is searched. mmengine's wrapper has one with bfloat16 too, which needs none."""
    return hasattr(wrapper, 'loss_scaler') and wrapper.cast_dtype in (None, torch.float16)


def step_where(finite: Tensor, optimizer: Optimizer) -> None:
    """Step where () bool ``finite``; otherwise parameters and state stay as they are.

    On a CPU the host knows. On a device nothing waits: fused optimisers ask the device, and of others (LARS)
    a copy of parameters and state is kept while they step. The first step of these waits, and every step of
    those that keep a part of their state on the CPU (the count of steps of torch's RMSprop, or of AdamW where
    it is neither fused nor ``capturable``), or in tensors of their own kind (torchao).
    """
    state = _state(optimizer).values()
    if finite.device.type != 'cpu' and getattr(optimizer, '_step_supports_amp_scaling', False):
        step_fused(finite, optimizer)
    elif finite.device.type != 'cpu' and state and all(_is_plain(x, finite.device) for x in state):
        step_and_restore(finite, optimizer)
    elif finite:
        optimizer.step()


def step_fused(finite: Tensor, optimizer: Optimizer) -> None:
    """Step a fused optimiser of torch, whose kernels leave everything as it is where ``found_inf`` is 1."""
    for group in optimizer.param_groups:
        if group.get('momentum') and not group.get('dampening', 1):
            # SGD leaves the momentum of a first step that does not happen undefined.
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
    """Step, and go back where the step was not to be."""
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
    """``OptimWrapper`` of a pretraining config: mmengine's, whose gradient norm is logged without a wait."""


@OPTIM_WRAPPERS.register_module(name='AmpOptimWrapper')
class GradNormAmpOptimWrapper(_GradNorm, AmpOptimWrapper):
    """``AmpOptimWrapper`` of a pretraining config: mmengine's, with the same gradient norm."""


@OPTIM_WRAPPERS.register_module()
class BF16OptimWrapper(_GradNorm, OptimWrapper):
    """Runs the forward pass in bfloat16 where that is safe, on any device.

    bfloat16 has float32's range, so nothing is scaled and no step is ever skipped; mmengine's
    ``AmpOptimWrapper`` insists on a CUDA device and a gradient scaler. The arguments are those of
    ``OptimWrapper``.
    """

    @contextmanager
    def optim_context(self, model: torch.nn.Module):
        """The context of a training step."""
        with super().optim_context(model), torch.autocast(get_device(), dtype=torch.bfloat16):
            yield
