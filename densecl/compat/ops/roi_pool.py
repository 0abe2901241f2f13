"""RoIPool (Girshick, "Fast R-CNN", ICCV 2015, section 2.1) with mmcv's bin edges.

torchvision's operator rounds the corners of a region to whole cells first; mmcv's does not, so
its bins differ and it is written out here.
"""

import torch
from torch import Tensor

from ._precision import widen


def roi_pool_forward(
    input: Tensor, rois: Tensor, output: Tensor, argmax: Tensor, pooled_height: int, pooled_width: int,
    spatial_scale: float,
) -> None:  # fmt: skip
    """Fill ``output`` with the maximum of every bin.

    Args:
        input, spatial_scale: As in `roi_align.roi_align_forward`.
        rois: (K, 5) image index and corners in image pixels, the far ones included.
        output: (K, C, pooled_height, pooled_width), filled; 0 for an empty bin.
        argmax: Like ``output``, int32: cell index y * W + x, -1 for an empty bin.
        pooled_height, pooled_width: Bins per region and axis.
    """
    height, width = input.shape[2:]
    corners = widen(rois)[:, 1:] + rois.new_tensor([0, 0, 1, 1])
    x1, y1, x2, y2 = (corners * spatial_scale).unbind(1)
    rows = _bins(y1, y2, pooled_height, height)
    columns = _bins(x1, x2, pooled_width, width)
    sane = ((x2 > x1) & (y2 > y1)).tolist()
    output.zero_()
    argmax.fill_(-1)
    for k, image in enumerate(rois[:, 0].long().tolist()):
        if sane[k]:
            _pool_region(input[image], rows[k], columns[k], output[k], argmax[k])


def roi_pool_backward(
    grad_output: Tensor, rois: Tensor, argmax: Tensor, grad_input: Tensor, pooled_height: int,
    pooled_width: int, spatial_scale: float,
) -> None:  # fmt: skip
    """Fill ``grad_input`` (B, C, H, W): each bin's gradient goes to its largest cell."""
    batch, channels, height, width = grad_input.shape
    grad = widen(grad_output).flatten(2) * (argmax >= 0).flatten(2)
    plane = rois[:, 0].long()[:, None] * channels + torch.arange(channels, device=rois.device)
    cells = plane[:, :, None] * (height * width) + argmax.clamp(min=0).long().flatten(2)
    flat = grad.new_zeros(batch * channels * height * width)
    flat.index_add_(0, cells.flatten(), grad.flatten())
    grad_input.copy_(flat.view_as(grad_input))


def _bins(start: Tensor, end: Tensor, count: int, size: int) -> list:
    """Return [first, past the last] cell of each of ``count`` bins, per region."""
    step = ((end - start) / count)[:, None]
    index = torch.arange(count, device=start.device, dtype=step.dtype)
    first = (index * step + start[:, None]).floor()
    last = ((index + 1) * step + start[:, None]).ceil()
    return torch.stack([first, last], dim=2).clamp(0, size).long().tolist()


def _pool_region(feature: Tensor, rows: list, columns: list, output: Tensor, argmax: Tensor):
    """Fill ``output`` and ``argmax`` (C, rows, columns) from one (C, H, W) feature map."""
    width = feature.size(2)
    for i, (top, bottom) in enumerate(rows):
        for j, (left, right) in enumerate(columns):
            if bottom <= top or right <= left:
                continue
            best, where = feature[:, top:bottom, left:right].flatten(1).max(dim=1)
            y, x = top + where // (right - left), left + where % (right - left)
            output[:, i, j] = best
            argmax[:, i, j] = (y * width + x).to(argmax.dtype)
