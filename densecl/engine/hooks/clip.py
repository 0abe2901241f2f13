"""Clips the gradient of each parameter, or of each part of the model, separately."""

import re

import torch
from mmengine.hooks import Hook
from torch import Tensor, nn
from torch.optim import Optimizer

from densecl.distributed import is_spread, local, tensor_norms
from densecl.engine.wrapped import unwrap
from densecl.registry import HOOKS

# The start of a parameter's name, which says the part of the model: backbone, neck, heads.<name>.
_PART = re.compile(r'heads\.[^.]+|[^.]+')


@HOOKS.register_module()
class ClipTensorsHook(Hook):
    """Scales the gradient of each parameter tensor down to a norm of at most ``max_norm``.

    DINO clips in this way (3.0, ``clip_gradients`` of the official ``utils.py``, with its 1e-6 in the
    denominator). In contrast, ``optim_wrapper.clip_grad`` clips the norm over all parameters. The hook clips
    at the start of ``optimizer.step()``. Gradients are then already accumulated, averaged over processes and
    unscaled.

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
        # A fused optimiser divides by the loss scale itself, so its gradients are still scaled here.
        scale = getattr(optimizer, 'grad_scale', None)
        limit = self.max_norm if scale is None else self.max_norm * scale
        params = [p for group in optimizer.param_groups for p in group['params'] if p.grad is not None]
        for grads in self.parts({p: p.grad for p in params}):
            parts = [local(grad) for grad in grads]
            norms = self.joined(tensor_norms(parts, is_spread(grads[0])))
            torch._foreach_mul_(parts, (limit / (norms + 1e-6)).clamp(max=1).unbind())

    def parts(self, grads: dict[nn.Parameter, Tensor]) -> list[list[Tensor]]:
        """Groups of gradients that are clipped at a time; here a single group of all gradients."""
        return [list(grads.values())] if grads else []

    def joined(self, norms: Tensor) -> Tensor:
        """(T,) norms of tensors -> (T,) norms that are limited: here each tensor's own norm."""
        return norms


@HOOKS.register_module()
class ClipModulesHook(ClipTensorsHook):
    """Scales the gradients of each part (backbone, neck, each head) down to a norm of at most ``max_norm``.

    DINOv2 clips in this way (3.0, ``clip_grad_norm`` of each sub-module in the official ``train.py``).

    Args:
        max_norm: largest Euclidean norm of the gradients of a part.
    """

    def before_train(self, runner) -> None:
        """Clip from now on."""
        super().before_train(runner)
        named = unwrap(runner.model).named_parameters()
        self.part_of = {parameter: _PART.match(name)[0] for name, parameter in named}

    def parts(self, grads):
        """The gradients of each part of the model."""
        found: dict[str, list[Tensor]] = {}
        for parameter, grad in grads.items():
            found.setdefault(self.part_of[parameter], []).append(grad)
        return list(found.values())

    def joined(self, norms):
        """The joint norm of all tensors of the part, repeated for each tensor."""
        return torch.linalg.vector_norm(norms).expand(len(norms))
