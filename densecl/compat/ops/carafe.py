"""Content-aware reassembly of features (Wang et al., "CARAFE", ICCV 2019, section 3.1)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ._precision import fill_gradients, widen


def carafe_naive_forward(
    features: Tensor, masks: Tensor, output: Tensor, kernel_size: int, group_size: int, scale_factor: int
) -> None:
    """Fill ``output`` with the upsampled features.

    Args:
        features: (B, C, H, W).
        masks: (B, group_size * kernel_size ** 2, H * scale_factor, W * scale_factor) weights.
        output: (B, C, H * scale_factor, W * scale_factor), filled.
        kernel_size: Odd width of the reassembled neighbourhood.
        group_size: Groups of channels with weights of their own.
        scale_factor: Upsampling ratio.
    """
    output.copy_(_reassemble(widen(features), widen(masks), kernel_size, group_size, scale_factor))


def carafe_naive_backward(
    grad_output: Tensor, features: Tensor, masks: Tensor, grad_input: Tensor, grad_masks: Tensor,
    kernel_size: int, group_size: int, scale_factor: int,
) -> None:  # fmt: skip
    """Fill both gradients; arguments as in `carafe_naive_forward`."""

    def reassemble(features: Tensor, masks: Tensor) -> Tensor:
        return _reassemble(features, masks, kernel_size, group_size, scale_factor)

    fill_gradients([grad_input, grad_masks], reassemble, [features, masks], grad_output)


def carafe_forward(
    features: Tensor, masks: Tensor, rfeatures: Tensor, routput: Tensor, rmasks: Tensor, output: Tensor,
    **sizes: int,
) -> None:  # fmt: skip
    """Fill ``output`` and keep the features in ``rfeatures``, which the backward gets instead.

    ``routput`` and ``rmasks`` are unused workspaces; see `carafe_naive_forward`.
    """
    rfeatures.copy_(features)
    carafe_naive_forward(features, masks, output, **sizes)


def carafe_backward(
    grad_output: Tensor, rfeatures: Tensor, masks: Tensor, rgrad_output: Tensor, rgrad_input_hs: Tensor,
    rgrad_input: Tensor, rgrad_masks: Tensor, grad_input: Tensor, grad_masks: Tensor, **sizes: int,
) -> None:  # fmt: skip
    """Fill both gradients; the tensors whose name begins with rgrad are unused workspaces."""
    carafe_naive_backward(grad_output, rfeatures, masks, grad_input, grad_masks, **sizes)


def _reassemble(features: Tensor, masks: Tensor, kernel: int, groups: int, scale: int) -> Tensor:
    """Return the weighted sum over each output cell's neighbourhood in the input."""
    batch, channels, height, width = features.shape
    around = F.unfold(features, kernel, padding=kernel // 2)
    around = around.view(batch, groups, channels // groups, kernel**2, height, width)
    # i, j: place of an output cell inside its input cell.
    weights = masks.view(batch, groups, kernel**2, height, scale, width, scale)
    output = torch.einsum('bgckhw,bgkhiwj->bgchiwj', around, weights)
    return output.reshape(batch, channels, height * scale, width * scale)
