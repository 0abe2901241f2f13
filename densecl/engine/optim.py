"""mmengine's optimizer wrappers, with the norm of the gradients for the log; and bfloat16."""

from contextlib import contextmanager

import torch
from mmengine.device import get_device
from mmengine.optim import AmpOptimWrapper, OptimWrapper

from densecl.distributed import is_spread, local, tensor_norms
from densecl.registry import OPTIM_WRAPPERS


class _GradNorm:
    """Measures the gradients of an optimiser step, before they are clipped, where it is asked to.

    ``measure`` is set by ``DeferredRuntimeInfoHook``: True until the next step has left ``grad_norm``, the
    Euclidean norm over all parameters, without a loss scale, a scalar on their device. It is None where there
    is no such hook: then mmengine logs the norm that it clips, and waits for it in every step.
    """

    measure: bool | None = None
    grad_norm: torch.Tensor | None = None

    def step(self, **kwargs) -> None:
        """Clip, measure and step."""
        if self.measure and not self.clip_grad_kwargs:
            if hasattr(self, 'loss_scaler'):  # which does not unscale twice
                self.loss_scaler.unscale_(self.optimizer)
            self._measure(self._with_gradient())
        super().step(**kwargs)

    def _clip_grad(self) -> None:
        if self.measure is None:
            super()._clip_grad()
            return
        params = self._with_gradient()
        if self.measure:
            self._measure(params)
        if params:
            self.clip_func(params, **self.clip_grad_kwargs)

    def _with_gradient(self) -> list[torch.nn.Parameter]:
        params = [p for group in self.optimizer.param_groups for p in group['params']]
        return [p for p in params if p.grad is not None]

    @torch.no_grad()
    def _measure(self, params: list[torch.nn.Parameter]) -> None:
        self.measure = False
        parts = [local(p.grad) for p in params] or [torch.zeros(())]
        self.grad_norm = torch.linalg.vector_norm(tensor_norms(parts, any(map(is_spread, params))))


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
