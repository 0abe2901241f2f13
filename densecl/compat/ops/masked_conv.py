"""Convolution at the marked positions only (Wang et al., "Guided Anchoring", CVPR 2019)."""

import torch.nn.functional as F
from torch import Tensor


def masked_im2col_forward(
    features: Tensor, mask_h_idx: Tensor, mask_w_idx: Tensor, data_col: Tensor, kernel_h: int, kernel_w: int,
    pad_h: int, pad_w: int,
) -> None:  # fmt: skip
    """Fill ``data_col`` with the patches around the marked positions.

    Args:
        features: (1, C, H, W).
        mask_h_idx, mask_w_idx: (N,) rows and columns of the output.
        data_col: (C * kernel_h * kernel_w, N), filled.
        kernel_h, kernel_w: Size of a patch.
        pad_h, pad_w: Zeros above and below, left and right.
    """
    columns = F.unfold(features, (kernel_h, kernel_w), padding=(pad_h, pad_w))[0]
    width = features.size(3) + 2 * pad_w - kernel_w + 1
    data_col.copy_(columns[:, mask_h_idx * width + mask_w_idx])


def masked_col2im_forward(
    masked_output: Tensor, mask_h_idx: Tensor, mask_w_idx: Tensor, output: Tensor, height: int, width: int,
    channels: int,
) -> None:  # fmt: skip
    """Write (channels, N) ``masked_output`` to its positions in (1, channels, height, width)."""
    output[0, :, mask_h_idx, mask_w_idx] = masked_output.to(output.dtype)
