"""RoIAlign (He et al., "Mask R-CNN", ICCV 2017, section 3), averaging by torchvision."""

from __future__ import annotations

import torch
import torchvision  # noqa: F401  registers torch.ops.torchvision
from torch import Tensor

from ._precision import widen

_MAX, _AVG = 0, 1


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fill ``output`` with the pooled features of each region.

    Args:
        input: (B, C, H, W) feature map.
        rois: (K, 5) image index and corners in image pixels.
        output: (K, C, aligned_height, aligned_width), filled.
        argmax_y: Unused when averaging.
        argmax_x: Unused when averaging.
        aligned_height: Bins per region, vertically.
        aligned_width: Bins per region, horizontally.
        spatial_scale: Cells per image pixel.
        sampling_ratio: Samples per bin and axis, 0 for as many as cells.
        pool_mode: 1 averages the samples of a bin; 0 (maximum) has no stand-in.
        aligned: Shift by half a cell, so that cell centers lie at whole numbers.

    Raises:
        NotImplementedError: For ``pool_mode`` 0.
    """
    _require_average(pool_mode, 'roi_align_forward')
    input = widen(input)
    pooled = torch.ops.torchvision.roi_align(
        input,
        rois.to(input.dtype),
        spatial_scale,
        aligned_height,
        aligned_width,
        sampling_ratio,
        aligned,
    )
    output.copy_(pooled)


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fill ``grad_input`` (B, C, H, W); the arguments are those of `roi_align_forward`."""
    _require_average(pool_mode, 'roi_align_backward')
    grad_output = widen(grad_output)
    grad = torch.ops.torchvision._roi_align_backward(
        grad_output,
        rois.to(grad_output.dtype),
        spatial_scale,
        aligned_height,
        aligned_width,
        *grad_input.shape,
        sampling_ratio,
        aligned,
    )
    grad_input.copy_(grad)


def _require_average(pool_mode: int, name: str) -> None:
    if pool_mode != _AVG:
        raise NotImplementedError(
            f"{name}: pool_mode='max' needs the compiled mmcv; pool_mode='avg' works without it"
        )
