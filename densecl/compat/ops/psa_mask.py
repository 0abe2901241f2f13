"""Point-wise spatial attention (Zhao et al., "PSANet", ECCV 2018, section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor

from ._precision import recompute_gradients, widen

_COLLECT, _DISTRIBUTE = 0, 1


def psamask_forward(
    input: Tensor,
    output: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Turn masks centered at each position into masks over the entire map.

    Args:
        input: (B, h_mask * w_mask, H, W); the mask of a position covers its surroundings.
        output: (B, H * W, H, W), filled: what each position gives to (collect) or takes from
            (distribute) every other; zero where the mask does not reach.
        psa_type: 0 collects, 1 distributes.
        num_: B.
        h_feature: H.
        w_feature: W.
        h_mask: Rows of a mask.
        w_mask: Columns of a mask.
        half_h_mask: Row of a mask's center.
        half_w_mask: Column of a mask's center.
    """
    whole = _spread(widen(input), (h_mask, w_mask), (half_h_mask, half_w_mask))
    output.copy_(_arrange(whole, psa_type).reshape(output.shape))


def psamask_backward(
    grad_output: Tensor,
    grad_input: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Fill ``grad_input``; arguments as in `psamask_forward`."""

    def spread(masks: Tensor) -> Tensor:
        whole = _spread(masks, (h_mask, w_mask), (half_h_mask, half_w_mask))
        return _arrange(whole, psa_type).reshape(grad_output.shape)

    # The operator is linear, so where its gradient is taken does not matter.
    zeros = torch.zeros_like(grad_input)
    grad_input.copy_(recompute_gradients(spread, [zeros], grad_output)[0])


def _spread(masks: Tensor, mask_size: tuple[int, int], center: tuple[int, int]) -> Tensor:
    """Return (B, H, W, H, W): for position (h, w), last two, its mask at (y, x)."""
    height, width = masks.shape[2:]
    masks = masks.unflatten(1, mask_size)
    rows, row_inside = _window(height, mask_size[0], center[0], masks.device)
    columns, column_inside = _window(width, mask_size[1], center[1], masks.device)
    index = rows[None, :, None, :, None].expand(len(masks), -1, mask_size[1], -1, width)
    masks = masks.gather(1, index)
    index = columns[None, None, :, None, :].expand(len(masks), height, -1, height, -1)
    masks = masks.gather(2, index)
    return masks * row_inside[:, None, :, None] * column_inside[None, :, None, :]


def _window(size: int, mask: int, center: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return (y, h): which row of position h's mask lies on row y, and whether there is one."""
    position = torch.arange(size, device=device)
    index = position[:, None] - position[None] + center
    return index.clamp(0, mask - 1), (index >= 0) & (index < mask)


def _arrange(whole: Tensor, psa_type: int) -> Tensor:
    """Order the two pairs of axes: collect as they are, distribute exchanged."""
    return whole if psa_type == _COLLECT else whole.permute(0, 3, 4, 1, 2)
