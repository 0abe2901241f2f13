"""RoIAlign (He et al., "Mask R-CNN", ICCV 2017, section 3), averaging by torchvision."""

import torch
import torchvision  # noqa: F401  registers torch.ops.torchvision
from torch import Tensor

from ._precision import fill_gradients, widen
from .roi_sampling import bilinear, bin_positions, region_corners

_MAX = 0  # 1 averages


def roi_align_forward(
    input: Tensor, rois: Tensor, output: Tensor, argmax_y: Tensor, argmax_x: Tensor, aligned_height: int,
    aligned_width: int, spatial_scale: float, sampling_ratio: int, pool_mode: int, aligned: bool,
) -> None:  # fmt: skip
    """Fill ``output`` with the pooled features of each region.

    Args:
        input: (B, C, H, W) feature map.
        rois: (K, 5) image index and corners in image pixels.
        output: (K, C, aligned_height, aligned_width), filled.
        argmax_y, argmax_x: Row and column of the largest sample, like ``output``; unused when averaging.
        aligned_height, aligned_width: Bins per region and axis.
        spatial_scale: Cells per image pixel.
        sampling_ratio: Samples per bin and axis, 0 for as many as cells.
        pool_mode: 0 takes the largest sample of a bin, 1 the mean.
        aligned: Shift by half a cell, so that cell centers lie at whole numbers.
    """
    input, rois = widen(input), rois.to(widen(input).dtype)
    shape = (aligned_height, aligned_width)
    if pool_mode == _MAX:
        corners = region_corners(rois, spatial_scale, aligned)
        for k, (image, box) in enumerate(zip(rois[:, 0].long().tolist(), corners, strict=True)):
            output[k], argmax_y[k], argmax_x[k] = _largest_samples(input[image], box, shape, sampling_ratio)
        return
    pooled = torch.ops.torchvision.roi_align(input, rois, spatial_scale, *shape, sampling_ratio, aligned)
    output.copy_(pooled)


def roi_align_backward(
    grad_output: Tensor, rois: Tensor, argmax_y: Tensor, argmax_x: Tensor, grad_input: Tensor,
    aligned_height: int, aligned_width: int, spatial_scale: float, sampling_ratio: int, pool_mode: int,
    aligned: bool,
) -> None:  # fmt: skip
    """Fill ``grad_input`` (B, C, H, W); the arguments are those of `roi_align_forward`."""
    grad_output, rois = widen(grad_output), rois.to(widen(grad_output).dtype)
    if pool_mode == _MAX:
        for k, image in enumerate(rois[:, 0].long().tolist()):
            grad_input[image] += _spread(grad_output[k], argmax_y[k], argmax_x[k], grad_input[image])
        return
    grad = torch.ops.torchvision._roi_align_backward(
        grad_output, rois, spatial_scale, aligned_height, aligned_width, *grad_input.shape, sampling_ratio,
        aligned,
    )  # fmt: skip
    grad_input.copy_(grad)


def _largest_samples(
    feature: Tensor, corners: list[float], shape: tuple[int, int], sampling_ratio: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the largest sample of every bin, its row and its column, (C, *shape) each."""
    y, x = bin_positions(corners, shape, sampling_ratio, feature)
    samples = bilinear(feature, y.reshape(1, -1), x.reshape(1, -1)).view(-1, *y.shape)
    best, where = samples.max(dim=-1, keepdim=True)
    rows, columns = (axis.expand_as(samples).gather(-1, where) for axis in (y, x))
    return best[..., 0], rows[..., 0], columns[..., 0]


def _spread(grad: Tensor, y: Tensor, x: Tensor, like: Tensor) -> Tensor:
    """Return the gradient of the feature map ``like`` whose bilinear samples at y, x have ``grad``."""
    rows, columns = widen(y).flatten(1), widen(x).flatten(1)
    result = torch.empty_like(like)
    fill_gradients([result], lambda f: bilinear(f, rows, columns), [torch.zeros_like(like)], grad.flatten(1))
    return result
