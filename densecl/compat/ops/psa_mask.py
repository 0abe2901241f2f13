"""Point-wise spatial attention (Zhao et al., "PSANet", ECCV 2018, section 3.2)."""

import torch
from torch import Tensor

from ._precision import fill_gradients, widen

_COLLECT = 0  # 1 distributes


def psamask_forward(
    input: Tensor, output: Tensor, psa_type: int, num_: int, h_feature: int, w_feature: int, h_mask: int,
    w_mask: int, half_h_mask: int, half_w_mask: int,
) -> None:  # fmt: skip
    """Turn masks centered at each position into masks over the entire map.

    Args:
        input: (B, h_mask * w_mask, H, W); the mask of a position covers its surroundings.
        output: (B, H * W, H, W), filled: what each position gives to (collect) or takes from
            (distribute) every other; zero where the mask does not reach.
        psa_type: 0 collects, 1 distributes.
        num_, h_feature, w_feature: B, H and W.
        h_mask, w_mask: Rows and columns of a mask.
        half_h_mask, half_w_mask: Row and column of a mask's center.
    """
    whole = _spread(widen(input), (h_mask, w_mask), (half_h_mask, half_w_mask), psa_type)
    output.copy_(whole.reshape(output.shape))


def psamask_backward(
    grad_output: Tensor, grad_input: Tensor, psa_type: int, num_: int, h_feature: int, w_feature: int,
    h_mask: int, w_mask: int, half_h_mask: int, half_w_mask: int,
) -> None:  # fmt: skip
    """Fill ``grad_input``; arguments as in `psamask_forward`."""

    def spread(masks: Tensor) -> Tensor:
        whole = _spread(masks, (h_mask, w_mask), (half_h_mask, half_w_mask), psa_type)
        return whole.reshape(grad_output.shape)

    # The operator is linear, so where its gradient is taken does not matter.
    fill_gradients([grad_input], spread, [torch.zeros_like(grad_input)], grad_output)


def _spread(masks: Tensor, mask_size: tuple[int, int], center: tuple[int, int], psa_type: int) -> Tensor:
    """Return (B, H, W, H, W): for position (h, w), its mask at (y, x); (y, x, h, w) where it collects."""
    height, width = masks.shape[2:]
    masks = masks.unflatten(1, mask_size)
    rows, row_inside = _window(height, mask_size[0], center[0], masks.device)
    columns, column_inside = _window(width, mask_size[1], center[1], masks.device)
    index = rows[None, :, None, :, None].expand(len(masks), -1, mask_size[1], -1, width)
    masks = masks.gather(1, index)
    index = columns[None, None, :, None, :].expand(len(masks), height, -1, height, -1)
    masks = masks.gather(2, index) * row_inside[:, None, :, None] * column_inside[None, :, None, :]
    return masks if psa_type == _COLLECT else masks.permute(0, 3, 4, 1, 2)


def _window(size: int, mask: int, center: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return (y, h): which row of position h's mask lies on row y, and whether there is one."""
    position = torch.arange(size, device=device)
    index = position[:, None] - position[None] + center
    return index.clamp(0, mask - 1), (index >= 0) & (index < mask)
