"""Deformable RoI pooling (Dai et al., "Deformable ConvNets", ICCV 2017, section 2.2)."""

import torch
from torch import Tensor

from ._precision import fill_gradients, widen
from .roi_sampling import bilinear, bin_positions, region_corners


def deform_roi_pool_forward(
    input: Tensor, rois: Tensor, offset: Tensor, output: Tensor, pooled_height: int, pooled_width: int,
    spatial_scale: float, sampling_ratio: int, gamma: float,
) -> None:  # fmt: skip
    """Fill ``output`` with the mean of every displaced bin.

    Args:
        input, rois, spatial_scale, sampling_ratio: As in `roi_align.roi_align_forward`.
        offset: (K, 2, pooled_height, pooled_width) displacement x, y in units of ``gamma``
            times the size of the region, or empty.
        output: (K, C, pooled_height, pooled_width), filled.
        pooled_height, pooled_width: Bins per region and axis.
        gamma: Factor of the displacements.
    """
    shape = (pooled_height, pooled_width)
    pool = _pooling(rois, shape, spatial_scale, sampling_ratio, gamma)
    output.copy_(pool(widen(input), widen(_whole(offset, rois, shape))))


def deform_roi_pool_backward(
    grad_output: Tensor, input: Tensor, rois: Tensor, offset: Tensor, grad_input: Tensor, grad_offset: Tensor,
    pooled_height: int, pooled_width: int, spatial_scale: float, sampling_ratio: int, gamma: float,
) -> None:  # fmt: skip
    """Fill both gradients; arguments as in `deform_roi_pool_forward`."""
    shape = (pooled_height, pooled_width)
    pool = _pooling(rois, shape, spatial_scale, sampling_ratio, gamma)
    offset = _whole(offset, rois, shape)
    outputs = [grad_input, grad_offset.view_as(offset) if grad_offset.numel() else torch.empty_like(offset)]
    fill_gradients(outputs, pool, [input, offset], grad_output)


def _whole(offset: Tensor, rois: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return the displacements as (K, 2, *shape); none are zeros."""
    if offset.numel() == 0:
        return rois.new_zeros(len(rois), 2, *shape)
    return offset.view(len(rois), 2, *shape)


def _pooling(rois: Tensor, shape: tuple[int, int], scale: float, ratio: int, gamma: float):
    """Return the pooling as a function of feature map and displacements."""
    corners = region_corners(widen(rois), scale, aligned=True)
    images = rois[:, 0].long().tolist()

    def pool(input: Tensor, offset: Tensor) -> Tensor:
        pooled = [
            _pool_region(input[image], box, moved * gamma, shape, ratio)
            for image, box, moved in zip(images, corners, offset, strict=True)
        ]
        if not pooled:
            return (input.sum() + offset.sum()) * input.new_zeros(0, input.size(1), *shape)
        return torch.stack(pooled)

    return pool


def _pool_region(
    feature: Tensor, corners: list[float], shift: Tensor, shape: tuple[int, int], ratio: int
) -> Tensor:
    """Return (C, *shape) means; ``shift`` (2, *shape) is x, y in sizes of the region."""
    x1, y1, x2, y2 = corners
    y, x = bin_positions(corners, shape, ratio, feature)
    y = y + (shift[1] * (y2 - y1))[..., None]
    x = x + (shift[0] * (x2 - x1))[..., None]
    return bilinear(feature, y.flatten()[None], x.flatten()[None]).view(-1, *y.shape).mean(dim=-1)
