"""Clips the gradient of each parameter by itself."""

import torch
from mmengine.hooks import Hook
from torch.optim import Optimizer

from densecl.distributed import is_spread, local, tensor_norms
from densecl.registry import HOOKS


@HOOKS.register_module()
class ClipTensorsHook(Hook):
    """Scales every parameter tensor's gradient down to a norm of at most ``max_norm``.

    DINO clips so (3.0, ``clip_gradients`` of the official ``utils.py``, with its 1e-6 in the
    denominator); ``optim_wrapper.clip_grad`` clips the norm over all parameters instead. It happens at
    the start of ``optimizer.step()``: gradients are accumulated, averaged over processes and unscaled
    by then.

    Args:
        max_norm: largest Euclidean norm of a tensor's gradient.

    Raises:
        ValueError: ``max_norm`` is not positive.
    """

    def __init__(self, max_norm: float) -> None:
        if not max_norm > 0:
            raise ValueError(f'ClipTensorsHook: max_norm must be > 0, got {max_norm}')
        self.max_norm = max_norm
        self.handle = None

    def before_train(self, runner) -> None:
        """Clip from now on."""
        self.handle = runner.optim_wrapper.optimizer.register_step_pre_hook(self.clip)

    def after_train(self, runner) -> None:
        """Clip no longer."""
        self.handle.remove()

    @torch.no_grad()
    def clip(self, optimizer: Optimizer, args: tuple, kwargs: dict) -> None:
        """Clip the gradients of an optimiser that is about to step."""
        params = [p for group in optimizer.param_groups for p in group['params']]
        grads = [p.grad for p in params if p.grad is not None]
        if not grads:
            return
        # A fused optimiser divides by the loss scale itself: its gradients are still scaled here.
        scale = getattr(optimizer, 'grad_scale', None)
        limit = self.max_norm if scale is None else self.max_norm * scale
        parts = [local(grad) for grad in grads]
        norms = tensor_norms(parts, is_spread(grads[0]))
        torch._foreach_mul_(parts, (limit / (norms + 1e-6)).clamp(max=1).unbind())
