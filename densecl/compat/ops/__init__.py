"""Stand-ins for the functions of ``mmcv._ext``, by way of torchvision and plain PyTorch.

Every function keeps the calling convention of the compiled extension: the caller hands in the
output tensors and the function fills them.  `OPERATORS` says which function of the extension is
found where and what does the work; anything not listed has no stand-in.
"""

from __future__ import annotations

from typing import NamedTuple

TORCHVISION = 'torchvision'
TORCHVISION_AVERAGE = 'torchvision (mean), PyTorch (max)'
TORCH = 'PyTorch'
MMCV = "mmcv's PyTorch form"


class Operator(NamedTuple):
    """Where the stand-in of one function of ``mmcv._ext`` lives and what it rests on."""

    module: str
    backing: str


OPERATORS = {
    'nms': Operator('nms', TORCHVISION),
    'softnms': Operator('nms', TORCH),
    'nms_match': Operator('nms', TORCH),
    'bbox_overlaps': Operator('boxes', TORCH),
    'roi_align_forward': Operator('roi_align', TORCHVISION_AVERAGE),
    'roi_align_backward': Operator('roi_align', TORCHVISION_AVERAGE),
    'roi_pool_forward': Operator('roi_pool', TORCH),
    'roi_pool_backward': Operator('roi_pool', TORCH),
    'sigmoid_focal_loss_forward': Operator('focal', TORCH),
    'sigmoid_focal_loss_backward': Operator('focal', TORCH),
    'softmax_focal_loss_forward': Operator('focal', TORCH),
    'softmax_focal_loss_backward': Operator('focal', TORCH),
    'deform_conv_forward': Operator('deform_conv', TORCHVISION),
    'deform_conv_backward_input': Operator('deform_conv', TORCHVISION),
    'deform_conv_backward_parameters': Operator('deform_conv', TORCHVISION),
    'modulated_deform_conv_forward': Operator('deform_conv', TORCHVISION),
    'modulated_deform_conv_backward': Operator('deform_conv', TORCHVISION),
    'ms_deform_attn_forward': Operator('deform_attention', MMCV),
    'ms_deform_attn_backward': Operator('deform_attention', MMCV),
    'deform_roi_pool_forward': Operator('deform_roi_pool', TORCH),
    'deform_roi_pool_backward': Operator('deform_roi_pool', TORCH),
    'carafe_forward': Operator('carafe', TORCH),
    'carafe_backward': Operator('carafe', TORCH),
    'carafe_naive_forward': Operator('carafe', TORCH),
    'carafe_naive_backward': Operator('carafe', TORCH),
    'psamask_forward': Operator('psa_mask', TORCH),
    'psamask_backward': Operator('psa_mask', TORCH),
    'masked_im2col_forward': Operator('masked_conv', TORCH),
    'masked_col2im_forward': Operator('masked_conv', TORCH),
}
