"""Deformable convolution, v1 (Dai et al., ICCV 2017) and v2 (Zhu et al., CVPR 2019)."""

import torch
import torchvision  # noqa: F401  registers torch.ops.torchvision
from torch import Tensor

from ._precision import widen

# Stride, padding, dilation (each y, x), groups and offset groups, in the order of torchvision's operator.
_V1 = ('dH', 'dW', 'padH', 'padW', 'dilationH', 'dilationW', 'group', 'deformable_group')
_V2 = (
    'stride_h', 'stride_w', 'pad_h', 'pad_w', 'dilation_h', 'dilation_w', 'group', 'deformable_group',
)  # fmt: skip


def deform_conv_forward(
    input: Tensor, weight: Tensor, offset: Tensor, output: Tensor, columns: Tensor, ones: Tensor,
    **geometry: int,
) -> None:  # fmt: skip
    """Fill ``output`` with the convolution sampled at displaced positions.

    Args:
        input: (B, C, H, W).
        weight: (D, C / group, kH, kW).
        offset: (B, 2 * deformable_group * kH * kW, H', W') displacements dy, dx in cells.
        output: (B, D, H', W'), filled.
        columns, ones: Unused workspaces.
        **geometry: kW, kH, dW, dH, padW, padH, dilationW, dilationH, group,
            deformable_group, im2col_step, as in the compiled operator.
    """
    where = [geometry[key] for key in _V1]
    output.copy_(torch.ops.torchvision.deform_conv2d(*_operands(input, weight, offset), *where, False))


def deform_conv_backward_input(
    input: Tensor, offset: Tensor, grad_output: Tensor, grad_input: Tensor, grad_offset: Tensor,
    weight: Tensor, columns: Tensor, **geometry: int,
) -> None:  # fmt: skip
    """Fill ``grad_input`` and ``grad_offset``; arguments as in `deform_conv_forward`."""
    where = [geometry[key] for key in _V1]
    grads = _backward(grad_output, *_operands(input, weight, offset), *where, False)
    grad_input.copy_(grads[0])
    grad_offset.copy_(grads[2])


def deform_conv_backward_parameters(
    input: Tensor, offset: Tensor, grad_output: Tensor, grad_weight: Tensor, columns: Tensor,
    ones: Tensor, scale: float = 1.0, **geometry: int,
) -> None:  # fmt: skip
    """Add ``scale`` times the gradient to ``grad_weight``; see `deform_conv_forward`."""
    # The weight's values do not enter its own gradient, only its shape does.
    operands = _operands(input, torch.zeros_like(grad_weight), offset)
    grads = _backward(grad_output, *operands, *[geometry[key] for key in _V1], False)
    grad_weight.add_(grads[1].to(grad_weight.dtype), alpha=scale)


def modulated_deform_conv_forward(
    input: Tensor, weight: Tensor, bias: Tensor, ones: Tensor, offset: Tensor, mask: Tensor,
    output: Tensor, columns: Tensor, with_bias: bool, **geometry: int,
) -> None:  # fmt: skip
    """Fill ``output`` with the displaced and modulated convolution.

    Args:
        input, weight, offset, output, columns, ones: As in `deform_conv_forward`.
        bias: (D,), or empty where not ``with_bias``.
        mask: (B, deformable_group * kH * kW, H', W') factor of every sample.
        with_bias: Whether ``bias`` counts.
        **geometry: kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, dilation_h,
            dilation_w, group, deformable_group, as in the compiled operator.
    """
    size = output.shape[2:]
    offset, mask = _as_read(offset, size, 'offset'), _as_read(mask, size, 'mask')
    operands = _operands(input, weight, offset, mask, bias if with_bias else None)
    where = [geometry[key] for key in _V2]
    output.copy_(torch.ops.torchvision.deform_conv2d(*operands, *where, True))


def modulated_deform_conv_backward(
    input: Tensor, weight: Tensor, bias: Tensor, ones: Tensor, offset: Tensor, mask: Tensor,
    columns: Tensor, grad_input: Tensor, grad_weight: Tensor, grad_bias: Tensor,
    grad_offset: Tensor, grad_mask: Tensor, grad_output: Tensor, with_bias: bool,
    **geometry: int,
) -> None:  # fmt: skip
    """Fill the five gradients; arguments as in `modulated_deform_conv_forward`."""
    size = grad_output.shape[2:]
    offset, mask = _as_read(offset, size, 'offset'), _as_read(mask, size, 'mask')
    operands = _operands(input, weight, offset, mask, bias if with_bias else None)
    grads = _backward(grad_output, *operands, *[geometry[key] for key in _V2], True)
    grad_input.copy_(grads[0])
    grad_weight.copy_(grads[1])
    grad_offset.copy_(_as_written(grads[2], grad_offset))
    grad_mask.copy_(_as_written(grads[3], grad_mask))
    if with_bias:
        grad_bias.copy_(grads[4])


def _backward(grad_output: Tensor, *arguments) -> tuple[Tensor, ...]:
    """Return the gradients of input, weight, offset, mask and bias."""
    return torch.ops.torchvision._deform_conv2d_backward(widen(grad_output), *arguments)


def _operands(
    input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor | None = None, bias: Tensor | None = None
) -> tuple[Tensor, ...]:
    """Return input, weight, offset, mask (v1: an unused one) and bias (zeros without one), in one type."""
    input, weight = widen(input), widen(weight)
    mask = input.new_zeros(len(input), 1) if mask is None else widen(mask)
    bias = weight.new_zeros(len(weight)) if bias is None else widen(bias)
    return input, weight, widen(offset), mask, bias


def _as_read(field: Tensor, size: torch.Size, name: str) -> Tensor:
    """Return an offset or mask the way the compiled v2 operator reads it.

    It takes the memory of an image as (channels, H', W') of the output, whatever the shape
    of the field. DyHead relies on that: it gives a level the larger field of the level below.
    """
    if field.shape[2:] == size:
        return field
    if field.shape[2] * field.shape[3] < size.numel():
        raise ValueError(
            f'modulated_deform_conv: {name} is {tuple(field.shape[2:])}, smaller than the '
            f'output {tuple(size)}'
        )
    channels = field.size(1)
    return field.flatten(1)[:, : channels * size.numel()].reshape(len(field), channels, *size)


def _as_written(grad: Tensor, field: Tensor) -> Tensor:
    """Return the gradient of ``field`` from that of what `_as_read` took of it."""
    if grad.shape == field.shape:
        return grad
    whole = grad.new_zeros(len(field), field[0].numel())
    whole[:, : grad[0].numel()] = grad.flatten(1)
    return whole.view(field.shape)
