"""Number formats: half precision is computed in float32, everything else as it comes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

_LOW = (torch.float16, torch.bfloat16)


def widen(tensor: Tensor) -> Tensor:
    """Return ``tensor`` in float32 where it is float16 or bfloat16, else unchanged.

    torchvision's kernels have no bfloat16 and, on CPU, only some have float16.
    """
    return tensor.float() if tensor.dtype in _LOW else tensor


def recompute_gradients(
    function: Callable[..., Tensor], inputs: Sequence[Tensor], grad_output: Tensor
) -> tuple[Tensor, ...]:
    """Run ``function`` again with gradients on and return the gradient of each input.

    Args:
        function: Differentiable function of ``inputs``.
        inputs: Floating-point tensors; half precision is widened to float32.
        grad_output: Gradient of the output, in its shape.

    Returns:
        One gradient per input, in the widened type.
    """
    with torch.enable_grad():
        leaves = [widen(tensor.detach()).requires_grad_() for tensor in inputs]
        output = function(*leaves)
    return torch.autograd.grad(output, leaves, grad_output.to(output.dtype))
