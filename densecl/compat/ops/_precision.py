"""Number formats: half precision is computed in float32, everything else as it comes."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def widen(tensor: Tensor) -> Tensor:
    """Return ``tensor`` in float32 where it is float16 or bfloat16, else unchanged.

    torchvision's kernels have no bfloat16 and, on CPU, only some have float16.
    """
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def fill_gradients(
    outputs: Sequence[Tensor], function: Callable[..., Tensor], inputs: Sequence[Tensor], grad_output: Tensor
) -> None:
    """Run ``function`` of ``inputs`` again with gradients on and fill ``outputs`` with those of each input.

    Half precision is widened to float32 on the way; ``grad_output`` has the shape of the function's result.
    """
    with torch.enable_grad():
        leaves = [widen(tensor.detach()).requires_grad_() for tensor in inputs]
        result = function(*leaves)
    grads = torch.autograd.grad(result, leaves, grad_output.to(result.dtype))
    for output, grad in zip(outputs, grads, strict=True):
        output.copy_(grad)
